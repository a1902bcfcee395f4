#include <charconv>

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include "base/units.h"
#include "domain/errors.h"
#include "gateway/function_json.h"
#include "gateway/job_answers.h"
#include "gateway/json_text.h"
#include "gateway/request_fields.h"
#include "gateway/routes.h"

namespace glowplug::gateway {
namespace {

namespace json = boost::json;
namespace error = domain::error;

Result<std::optional<int>> if_revision(const Exchange& exchange) {
  std::string_view text = exchange.header("if-match");
  if (text.empty() || text == "*") return std::optional<int>();
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"')
    text = text.substr(1, text.size() - 2);
  int revision = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), revision);
  if (ec != std::errc() || end != text.data() + text.size()) {
    return Error{std::string(error::kInvalidValue), "If-Match must be a revision number like 3.",
                 "if-match"};
  }
  return std::optional<int>(revision);
}

Reply put_answer(Exchange& exchange, const domain::Manifest& manifest,
                 const control::PutOutcome& outcome) {
  json::object object;
  if (const auto view = exchange.server.platform.function(manifest.name)) {
    object = function_object(*view, exchange.server.options, exchange.server.clock.now());
  } else {
    object["object"] = "function";
    object["function"] = manifest.name;
    object["revision"] = outcome.revision;
  }
  object["created"] = outcome.created;
  object["changed"] = outcome.changed;
  return json_reply(outcome.created ? 201 : 200, json::serialize(object));
}

Reply dry_run(Exchange& exchange, const domain::Manifest& manifest) {
  const auto view = exchange.server.platform.function(manifest.name);
  json::object object;
  object["object"] = "function";
  object["function"] = manifest.name;
  object["revision"] = view ? view->revision : 0;
  object["created"] = !view;
  object["changed"] = !view || !(view->manifest == manifest);
  object["dry_run"] = true;
  object["manifest"] = manifest_object(manifest);
  return json_reply(200, json::serialize(object));
}

}  // namespace

Reply no_function(const Exchange& exchange) {
  return exchange.error_reply(
      Error{std::string(error::kModelNotFound),
            "There is no function `" + exchange.name + "`; glowplug ps lists all.", "name"});
}

Reply put_function(Exchange& exchange) {
  const Result<std::optional<int>> revision = if_revision(exchange);
  if (!revision) return exchange.error_reply(revision.error());
  const GatewayOptions& options = exchange.server.options;
  if (!options.read_manifest) {
    return exchange.error_reply(
        Error{std::string(error::kServerError), "No manifest reader is set up.", ""});
  }
  const Result<domain::Manifest> manifest =
      options.read_manifest(exchange.request.body(), exchange.name);
  if (!manifest) return exchange.error_reply(manifest.error());
  if (manifest->engine.kind == domain::EngineKind::Process && !options.process_engines_allowed) {
    return exchange.error_reply(Error{std::string(error::kForbidden),
                                      "engine.process runs a command of this machine, and this "
                                      "server does not allow it; start it with "
                                      "--allow-process-engines.",
                                      "engine"});
  }
  if (exchange.query_value("dry_run") == "true") return dry_run(exchange, manifest.value());
  const Result<control::PutOutcome> outcome =
      exchange.server.platform.put(manifest.value(), revision.value());
  if (!outcome) return exchange.error_reply(outcome.error());
  tell_jobs(exchange, manifest->name);
  return put_answer(exchange, manifest.value(), outcome.value());
}

Reply get_function(Exchange& exchange) {
  const auto view = exchange.server.platform.function(exchange.name);
  if (!view) return no_function(exchange);
  Reply reply = json_reply(200, json::serialize(function_document(*view, exchange.server.options,
                                                                  exchange.server.clock.now())));
  reply.headers = "etag: \"" + std::to_string(view->revision) + "\"\r\n";
  return reply;
}

Reply get_functions(Exchange& exchange) {
  const std::string_view warm = exchange.query_value("warm");
  if (!warm.empty() && warm != "true" && warm != "false")
    return exchange.error_reply(invalid("warm", "must be true or false."));
  ListText list;
  exchange.server.platform.each_function([&](const control::FunctionView& view) {
    const bool is_warm = view.tier >= domain::Tier::Template || !view.holds.empty();
    if (warm.empty() || is_warm == (warm == "true"))
      list.add(function_object(view, exchange.server.options, exchange.server.clock.now()));
  });
  return json_reply(200, list.end());
}

Reply delete_function(Exchange& exchange) {
  const Result<void> removed = exchange.server.platform.remove(exchange.name);
  if (!removed) return exchange.error_reply(removed.error());
  tell_jobs(exchange, exchange.name);
  return json_reply(204, "");
}

namespace {

// An object of `for` and one more, or nothing at all.
Result<json::object> wish_of(const Exchange& exchange, std::string_view other) {
  if (exchange.request.body().empty()) return json::object();
  Result<json::object> wish = parse_object(exchange.request.body());
  if (!wish) return wish;
  for (const auto& [key, value] : *wish)
    if (auto known = check_known(key, {other, "for"}); !known) return known.error();
  return wish;
}

// `for`: how long something is held.
Result<Duration> hold_of(const json::object& request) {
  constexpr Duration kUsual = std::chrono::minutes(5);
  const json::value* value = field(request, "for");
  if (value == nullptr) return kUsual;
  std::optional<Duration> hold;
  if (value->is_string()) hold = parse_duration(std::string_view(value->as_string()));
  if (const std::optional<long> seconds = integer(request, "for");
      seconds && *seconds < 1'000'000'000)
    hold = *seconds < 0 ? kForever : Duration(std::chrono::seconds(*seconds));
  if (hold) return *hold;
  return invalid("for",
                 "must be a duration like \"5m\", a number of seconds, or -1 (until stopped).");
}

}  // namespace

Reply warm_function(Exchange& exchange) {
  const Result<json::object> request = wish_of(exchange, "count");
  if (!request) return exchange.error_reply(request.error());
  if (Result<void> count = check_integer(*request, "count", {1, 1000}); !count)
    return exchange.error_reply(count.error());
  const Result<Duration> hold = hold_of(*request);
  if (!hold) return exchange.error_reply(hold.error());
  const int count = static_cast<int>(integer(*request, "count").value_or(1));
  const Result<void> warmed = exchange.server.platform.warm(exchange.name, count, *hold);
  if (!warmed) return exchange.error_reply(warmed.error());
  return json_reply(202,
                    json::serialize(json::object{{"function", exchange.name}, {"count", count}}));
}

Reply preload_function(Exchange& exchange) {
  const Result<json::object> request = wish_of(exchange, "tier");
  if (!request) return exchange.error_reply(request.error());
  const json::value* asked = field(*request, "tier");
  const std::string word =
      asked != nullptr && asked->is_string() ? std::string(asked->as_string()) : "";
  std::optional<domain::Tier> tier;
  for (const domain::Tier one :
       {domain::Tier::Disk, domain::Tier::Memory, domain::Tier::Template, domain::Tier::Replica})
    if (word == to_string(one)) tier = one;
  if (!tier)
    return exchange.error_reply(
        invalid("tier", "must be \"disk\", \"memory\", \"template\" or \"replica\"."));
  const Result<Duration> hold = hold_of(*request);
  if (!hold) return exchange.error_reply(hold.error());
  const Result<void> wanted = exchange.server.platform.preload(exchange.name, *tier, *hold);
  if (!wanted) return exchange.error_reply(wanted.error());
  return json_reply(202,
                    json::serialize(json::object{{"function", exchange.name}, {"tier", word}}));
}

Reply stop_function(Exchange& exchange) {
  const Result<void> stopped = exchange.server.platform.stop(exchange.name);
  if (!stopped) return exchange.error_reply(stopped.error());
  return json_reply(202,
                    json::serialize(json::object{{"function", exchange.name}, {"stopping", true}}));
}

Reply get_logs(Exchange& exchange) {
  if (!exchange.server.platform.function(exchange.name)) return no_function(exchange);
  json::array data;
  for (const std::string& line : exchange.server.platform.logs(exchange.name))
    data.emplace_back(line);
  return json_reply(200,
                    json::serialize(json::object{{"object", "list"}, {"data", std::move(data)}}));
}

}  // namespace glowplug::gateway
