#include <cerrno>
#include <cstring>
#include <filesystem>

#include <fmt/format.h>
#include <sys/stat.h>

#include "cli/commands.h"
#include "cli/follow.h"
#include "cli/json_fields.h"
#include "cli/read_input.h"
#include "cli/source.h"

namespace glowplug::cli {
namespace {

struct Manifest {
  std::string name;
  std::string text;
  std::string content_type;
};

Error usage(std::string message) { return {std::string(kUsage), std::move(message), "source"}; }

Result<Manifest> read_manifest(const DeployOptions& options) {
  Result<std::string> text = read_file(options.source);
  if (!text) return text.error();
  const std::string name =
      options.name.empty() ? name_from_manifest(*text).value_or("") : options.name;
  if (name.empty())
    return usage(
        fmt::format("'{}' has no top-level name; add one or give --name NAME", options.source));
  if (!options.name.empty()) *text = renamed_manifest(*text, name);
  const bool json = options.source.ends_with("json") || options.source.ends_with("JSON");
  return Manifest{name, *std::move(text), json ? "application/json" : "application/yaml"};
}

// The server may run elsewhere in the tree of folders, so a file goes to it with its absolute path.
Result<std::string> absolute_file(const std::string& path) {
  struct stat found {};
  if (::stat(path.c_str(), &found) != 0)
    return Error{std::string(kClientFailed),
                 fmt::format("cannot deploy '{}': {}", path, std::strerror(errno)), "source"};
  if (!S_ISREG(found.st_mode))
    return Error{std::string(kClientFailed),
                 fmt::format("cannot deploy '{}': it is no regular file", path), "source"};
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::canonical(path, error);
  if (error)
    return Error{std::string(kClientFailed),
                 fmt::format("cannot resolve '{}': {}", path, error.message()), "source"};
  return absolute.string();
}

Result<Manifest> manifest_for(const DeployOptions& options) {
  const Result<SourceKind> kind = classify_source(options.source);
  if (!kind) return kind.error();
  if (*kind == SourceKind::Manifest) return read_manifest(options);
  std::string model = options.source;
  if (*kind == SourceKind::GgufFile) {
    Result<std::string> path = absolute_file(options.source);
    if (!path) return path.error();
    model = *std::move(path);
  }
  const std::string name =
      options.name.empty() ? name_from_source(*kind, options.source) : options.name;
  if (name.empty())
    return usage(fmt::format("no name can be made from '{}'; give --name NAME", options.source));
  const boost::json::object body{
      {"apiVersion", "glowplug.dev/v1"}, {"kind", "Function"}, {"name", name}, {"model", model}};
  return Manifest{name, to_text(body), "application/json"};
}

std::string call_line(const Context& context, const boost::json::value& function,
                      const std::string& name) {
  const std::string task = text_field(function, "task");
  std::string path = "/v1/chat/completions";
  boost::json::object body{{"model", name}};
  if (text_field(function, "engine") == "process") {
    path = function_target(name, "/invoke");
    body = {{"body", boost::json::object{{"prompt", "Hello"}}}};
  } else if (task == "embed") {
    path = "/v1/embeddings";
    body["input"] = "Hello";
  } else if (task == "rerank") {
    path = "/v1/rerank";
    body["query"] = "Hello";
    body["documents"] = boost::json::array{"Good day", "Good night"};
  } else {
    body["messages"] =
        boost::json::array{boost::json::object{{"role", "user"}, {"content", "Hello"}}};
  }
  return fmt::format(
      "curl {}{} -H 'content-type: application/json'{} -d '{}'", context.server.url(), path,
      context.server.has_key() ? " -H \"authorization: Bearer $GLOWPLUG_API_KEY\"" : "",
      to_text(body));
}

// The revision before this deploy; 0 when there is none or it cannot be read.
int revision_now(const Context& context, const std::string& name) {
  const Result<HttpReply> reply = context.server.send({.target = function_target(name)});
  if (!reply || !reply->succeeded()) return 0;
  const Result<boost::json::value> body = parse_json(reply->body);
  return body ? static_cast<int>(number_field(*body, "revision")) : 0;
}

HttpRequest warm_one(const std::string& name) {
  const boost::json::object body{{"count", 1}, {"for", "5m"}};
  return {.method = "POST", .target = function_target(name, "/warm"), .body = to_text(body)};
}

}  // namespace

int deploy(const Context& context, const DeployOptions& options) {
  const Result<Manifest> manifest = manifest_for(options);
  if (!manifest) return report_error(context, manifest.error());
  const std::string& name = manifest->name;

  const int before = revision_now(context, name);
  const Fetched put = fetch(context, context.server,
                            {.method = "PUT",
                             .target = function_target(name),
                             .body = manifest->text,
                             .content_type = manifest->content_type});
  if (put.exit != 0) return put.exit;

  Fetched now = follow(context, {.name = name, .until = domain::Tier::Disk});
  if (now.exit != 0) return now.exit;
  if (options.wait && text_field(now.body, "state") != "ready") {
    now = follow(context, {.name = name, .until = domain::Tier::Replica, .wish = warm_one(name)});
    if (now.exit != 0) return now.exit;
  }

  const int revision = static_cast<int>(number_field(now.body, "revision"));
  const bool unchanged = before != 0 && before == revision;
  if (context.json) {
    boost::json::value answer = now.body;
    if (answer.is_object()) answer.get_object()["unchanged"] = unchanged;
    print_json(context, answer);
    return 0;
  }
  if (unchanged)
    context.console.out << fmt::format("{}: no change (revision {})\n", name, revision);
  else
    context.console.out << fmt::format("{} is deployed (revision {})\n", name, revision);
  context.console.out << call_line(context, now.body, name) << std::endl;
  return 0;
}

}  // namespace glowplug::cli
