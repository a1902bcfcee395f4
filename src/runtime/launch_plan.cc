#include "runtime/launch_plan.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <unistd.h>
#include <utility>

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "domain/errors.h"
#include "policy/cache_domains.h"

namespace glowplug::runtime {
namespace {

namespace fs = std::filesystem;

using domain::EngineKind;
using domain::Manifest;
using Placeholders = std::map<std::string, std::string, std::less<>>;

constexpr std::uintmax_t kChatTemplateBytesMax = 1 << 20;
constexpr std::size_t kSocketPathMax =
    sizeof(sockaddr_un{}.sun_path) - 1;  // the kernel wants a final zero byte

Error failed(std::string message, std::string param = {}) {
  return Error{std::string(domain::error::kFunctionFailed), std::move(message), std::move(param)};
}

// One pass from left to right, so that a replaced value is never read as a placeholder itself.
std::string replace(std::string_view text, const Placeholders& placeholders) {
  std::string out;
  while (!text.empty()) {
    const std::size_t open = text.find('{');
    out += text.substr(0, open);
    if (open == std::string_view::npos) break;
    text.remove_prefix(open);
    const std::size_t close = text.find('}');
    const auto found = close == std::string_view::npos
                           ? placeholders.end()
                           : placeholders.find(text.substr(1, close - 1));
    if (found == placeholders.end()) {
      out += '{';
      text.remove_prefix(1);
    } else {
      out += found->second;
      text.remove_prefix(close + 1);
    }
  }
  return out;
}

bool mentions(const Manifest& manifest, std::string_view placeholder) {
  const domain::ProcessEngine& process = manifest.engine.process;
  for (const std::string& word : process.command)
    if (word.find(placeholder) != std::string::npos) return true;
  for (const auto& [name, value] : process.env)
    if (value.find(placeholder) != std::string::npos) return true;
  return false;
}

bool names_template(const Manifest& manifest) {
  return manifest.engine.kind == EngineKind::Llama && !manifest.chat_template.empty() &&
         manifest.chat_template != "builtin";
}

bool is_file_name(const std::string& chat_template) {
  return chat_template.find_first_of("/.") != std::string::npos;
}

std::string template_file(const std::string& chat_template, const std::string& templates_dir) {
  if (is_file_name(chat_template)) return chat_template;
  return templates_dir + "/" + chat_template + ".jinja";
}

std::map<std::string, std::string> environment(const BaseEnvironment& base,
                                               const std::string& folder) {
  std::map<std::string, std::string> env{
      {"PATH", base.path}, {"HOME", base.home}, {"LANG", base.lang}};
  if (!base.tz.empty()) env["TZ"] = base.tz;
  env[std::string(kReplicaVariable)] = folder;
  return env;
}

std::vector<std::string> worker_arguments(const control::StartProcess& start,
                                          const LaunchPlaces& places, const std::string& socket) {
  const Manifest& manifest = start.manifest;
  std::vector<std::string> argv{places.worker_path,
                                "--protocol",
                                "4",
                                "--engine",
                                std::string(to_string(manifest.engine.kind)),
                                "--socket",
                                socket,
                                "--control-fd",
                                "3",
                                "--lifeline-fd",
                                "4",
                                "--task",
                                std::string(to_string(manifest.task)),
                                "--context",
                                std::to_string(manifest.context),
                                "--slots",
                                std::to_string(manifest.slots),
                                "--threads",
                                std::to_string(start.threads),
                                "--cores",
                                std::to_string(std::max(start.cores, start.threads))};
  const auto add = [&argv](std::string option, std::string value) {
    argv.push_back(std::move(option));
    argv.push_back(std::move(value));
  };
  if (start.role == control::Role::Template) add("--role", "template");
  if (start.role == control::Role::Measure) add("--role", "measure");
  if (!start.file_type.empty()) add("--file-type", start.file_type);
  if (start.ahead && start.role == control::Role::Replica) add("--warm", "yes");
  const domain::Tuning& tuning = manifest.tuning;
  if (tuning.batch > 0) add("--batch", std::to_string(tuning.batch));
  if (tuning.repack != domain::Repack::Auto) add("--repack", std::string(to_string(tuning.repack)));
  if (tuning.kv != domain::KvType::Auto) add("--kv", std::string(to_string(tuning.kv)));
  if (!start.facts.path.empty()) add("--model", start.facts.path);
  if (names_template(manifest))
    add("--chat-template-file", template_file(manifest.chat_template, places.templates_dir));
  if (manifest.engine.kind == EngineKind::Fake) {
    const domain::FakeEngine& fake = manifest.engine.fake;
    const auto load = std::chrono::duration_cast<std::chrono::milliseconds>(fake.load_time);
    add("--fake-load-ms", std::to_string(load.count()));
    add("--fake-tokens-per-second", fmt::format("{}", fake.tokens_per_second));
    if (!fake.fault.empty()) add("--fake-fault", fake.fault);
  }
  return argv;
}

Result<void> plan_process(const control::StartProcess& start, const LaunchPlaces& places, int port,
                          const std::string& socket, std::map<std::string, std::string>& env,
                          LaunchPlan& plan) {
  const Manifest& manifest = start.manifest;
  const domain::ProcessEngine& process = manifest.engine.process;
  if (process.command.empty())
    return failed(
        fmt::format("function '{}' has an empty engine.process.command; name the program to run",
                    manifest.name),
        "engine.process.command");
  const Placeholders placeholders{{"socket", socket},
                                  {"port", std::to_string(port)},
                                  {"model", start.facts.path},
                                  {"context", std::to_string(manifest.context)},
                                  {"slots", std::to_string(manifest.slots)},
                                  {"threads", std::to_string(start.threads)},
                                  {"url", places.server_url}};
  for (const auto& [name, value] : process.env) env[name] = replace(value, placeholders);
  env[std::string(kReplicaVariable)] = plan.folder;
  for (const std::string& word : process.command) plan.argv.push_back(replace(word, placeholders));
  const std::optional<std::string> program = find_program(plan.argv.front(), env["PATH"]);
  if (!program)
    return failed(fmt::format("command '{}' of function '{}' does not exist or is not executable",
                              plan.argv.front(), manifest.name),
                  "engine.process.command");
  plan.program = *program;
  plan.readiness = Readiness::Http;
  plan.ready_path = process.ready.starts_with('/') ? process.ready : "/" + process.ready;
  plan.start_timeout = process.start_timeout;
  if (wants_port(manifest)) plan.endpoint = control::Endpoint{.socket_path = {}, .port = port};
  return {};
}

}  // namespace

Result<void> check_chat_template(const Manifest& manifest, const std::string& templates_dir) {
  if (!names_template(manifest)) return {};
  const auto refused = [](const std::string& why) {
    return Error{std::string(domain::error::kManifestInvalid), "chat_template: " + why, {}};
  };
  const std::string& name = manifest.chat_template;
  if (is_file_name(name) && !name.starts_with('/'))
    return refused(fmt::format("\"{}\" is no absolute path; the server reads the file", name));
  const std::string file = template_file(name, templates_dir);
  std::error_code error;
  if (!fs::exists(file, error))
    return refused(is_file_name(name)
                       ? fmt::format("the server finds no file {}", file)
                       : fmt::format("there is no template \"{}\"; use builtin, tools or the "
                                     "absolute path of a Jinja file",
                                     name));
  const auto bytes = fs::is_regular_file(file, error) ? fs::file_size(file, error) : 0;
  if (error || bytes == 0 || bytes > kChatTemplateBytesMax)
    return refused(fmt::format("{} is no text of 1 to {} bytes", file, kChatTemplateBytesMax));
  if (::access(file.c_str(), R_OK) != 0)
    return refused(fmt::format("{} cannot be read: {}", file, std::strerror(errno)));
  return {};
}

BaseEnvironment base_environment() {
  BaseEnvironment base;
  const auto take = [](const char* name, std::string& into) {
    const char* value = std::getenv(name);  // tidy: because children inherit these as they are
    if (value != nullptr && *value != '\0') into = value;
  };
  take("PATH", base.path);
  take("HOME", base.home);
  take("LANG", base.lang);
  take("TZ", base.tz);
  return base;
}

LaunchPlan plan_standby(const std::string& worker_path, const BaseEnvironment& base) {
  LaunchPlan plan;
  plan.program = worker_path;
  plan.argv = {worker_path, "--standby"};
  for (const auto& [name, value] : environment(base, {})) plan.env.push_back(name + "=" + value);
  return plan;
}

bool wants_port(const Manifest& manifest) {
  return manifest.engine.kind == EngineKind::Process && !mentions(manifest, "{socket}");
}

Result<LaunchPlan> plan_launch(const control::StartProcess& start, const LaunchPlaces& places,
                               const BaseEnvironment& base, int port) {
  LaunchPlan plan;
  plan.folder = places.run_dir + "/" + std::to_string(start.process.value);
  const std::string socket = plan.folder + "/r.sock";
  if (socket.size() > kSocketPathMax)
    return failed(fmt::format(
        "the run folder '{}' is too long: a replica's socket would be {} bytes, and a Unix "
        "socket's path has at most {}; choose a shorter folder",
        places.run_dir, socket.size(), kSocketPathMax));
  plan.endpoint.socket_path = socket;
  plan.threads = start.threads;
  plan.cores = std::max(start.cores, start.threads);
  plan.warm = start.ahead;
  if (start.role == control::Role::Template) {
    plan.primes = start.manifest.prime;
    plan.prime = start.prime;
  }
  if (start.role == control::Role::Replica && policy::has_prompt_state(start.manifest))
    plan.slots = start.manifest.slots;
  std::map<std::string, std::string> env = environment(base, plan.folder);
  if (start.gpus) env["CUDA_VISIBLE_DEVICES"] = *start.gpus;
  if (start.manifest.engine.kind == EngineKind::Process) {
    const Result<void> planned = plan_process(start, places, port, socket, env, plan);
    if (!planned) return planned.error();
  } else {
    plan.program = places.worker_path;
    plan.argv = worker_arguments(start, places, socket);
    if (!find_program(plan.program, {}))
      return failed(
          fmt::format("the worker program '{}' does not exist or is not executable", plan.program));
  }
  for (const auto& [name, value] : env) plan.env.push_back(name + "=" + value);
  return plan;
}

std::optional<std::string> find_program(const std::string& command, std::string_view path) {
  const auto executable = [](const std::string& file) {
    struct stat status {};
    return ::stat(file.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
           ::access(file.c_str(), X_OK) == 0;
  };
  if (command.empty()) return std::nullopt;
  if (command.find('/') != std::string::npos)
    return executable(command) ? std::optional(command) : std::nullopt;
  while (!path.empty()) {
    const std::size_t end = path.find(':');
    const std::string_view folder = path.substr(0, end);
    std::string file = folder.empty() ? "./" + command : std::string(folder) + "/" + command;
    if (executable(file)) return file;
    path = end == std::string_view::npos ? std::string_view{} : path.substr(end + 1);
  }
  return std::nullopt;
}

}  // namespace glowplug::runtime
