#include "worker/options.h"

#include <charconv>
#include <functional>
#include <map>
#include <set>

#include "domain/errors.h"
#include "domain/limits.h"

namespace glowplug::worker {
namespace {

// The longest path that fits sockaddr_un::sun_path with its closing zero.
constexpr std::size_t kSocketPathMax = 107;
constexpr int kLoadMsMax = 600'000;

Error refuse(std::string_view option, std::string message) {
  return Error{std::string(domain::error::kInvalidValue),
               std::string(option) + ": " + std::move(message), std::string(option)};
}

Result<int> parse_int(std::string_view option, std::string_view text, int low, int high) {
  int value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc{} || end != text.data() + text.size() || value < low || value > high) {
    return refuse(option, "'" + std::string(text) + "' is not a whole number from " +
                              std::to_string(low) + " to " + std::to_string(high));
  }
  return value;
}

Result<void> store_int(int& field, std::string_view option, std::string_view text, int low,
                       int high) {
  auto value = parse_int(option, text, low, high);
  if (!value) return value.error();
  field = *value;
  return {};
}

Result<void> store_rate(double& field, std::string_view option, std::string_view text) {
  double value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc{} || end != text.data() + text.size() || !(value >= 0) || value > 1e9) {
    return refuse(option,
                  "'" + std::string(text) + "' is not a rate in tokens per second from 0 to 1e9");
  }
  field = value;
  return {};
}

template <typename T>
Result<void> store_choice(T& field, std::string_view option, std::string_view text,
                          const std::map<std::string_view, T>& choices) {
  const auto found = choices.find(text);
  if (found == choices.end()) {
    std::string names;
    for (const auto& [name, unused] : choices)
      names += (names.empty() ? "" : ", ") + std::string(name);
    return refuse(option, "'" + std::string(text) + "' is unknown; choose one of " + names);
  }
  field = found->second;
  return {};
}

Result<void> store_fault(FakeOptions& fake, std::string_view option, std::string_view text) {
  const std::size_t colon = text.find(':');
  const auto stored = store_choice<FakeFault>(fake.fault, option, text.substr(0, colon),
                                              {{"crash_on_load", FakeFault::kCrashOnLoad},
                                               {"never_ready", FakeFault::kNeverReady},
                                               {"exit_after_load", FakeFault::kExitAfterLoad},
                                               {"escape", FakeFault::kEscape},
                                               {"crash_after_tokens", FakeFault::kCrashAfterTokens},
                                               {"crash_on_prompt", FakeFault::kCrashOnPrompt},
                                               {"hold_megabytes", FakeFault::kHoldMegabytes},
                                               {"hang_after_tokens", FakeFault::kHangAfterTokens}});
  if (!stored) return stored;
  const bool has_text = fake.fault == FakeFault::kEscape || fake.fault == FakeFault::kCrashOnPrompt;
  if (has_text) {
    if (colon == std::string_view::npos || colon + 1 == text.size())
      return refuse(option, "needs a text, as in crash_on_prompt:word");
    fake.fault_text = text.substr(colon + 1);
    return {};
  }
  const bool counts = fake.fault == FakeFault::kCrashAfterTokens ||
                      fake.fault == FakeFault::kHoldMegabytes ||
                      fake.fault == FakeFault::kHangAfterTokens;
  if (counts != (colon != std::string_view::npos)) {
    return refuse(option,
                  counts ? "needs a number, as in crash_after_tokens:5"
                         : "takes a number only with crash_after_tokens, hang_after_tokens and "
                           "hold_megabytes");
  }
  return counts
             ? store_int(fake.fault_tokens, option, text.substr(colon + 1), 0, domain::kContextMax)
             : Result<void>{};
}

Result<void> store(Options& options, std::string_view name, std::string_view value) {
  if (name == "--protocol") {
    int protocol = 0;
    if (auto stored = store_int(protocol, name, value, 0, 1'000'000); !stored) return stored;
    if (protocol == kProtocol) return {};
    return refuse(name, "this worker speaks protocol " + std::to_string(kProtocol) + ", not " +
                            std::string(value) +
                            "; install glowplug and glowplug-worker of one version");
  }
  if (name == "--engine") {
    return store_choice<EngineKind>(options.engine, name, value,
                                    {{"llama", EngineKind::kLlama}, {"fake", EngineKind::kFake}});
  }
  if (name == "--task") {
    return store_choice<Task>(
        options.task, name, value,
        {{"generate", Task::kGenerate}, {"embed", Task::kEmbed}, {"rerank", Task::kRerank}});
  }
  if (name == "--role") {
    enum class Role { kReplica, kTemplate, kMeasure } role = Role::kReplica;
    auto stored = store_choice<Role>(
        role, name, value,
        {{"replica", Role::kReplica}, {"template", Role::kTemplate}, {"measure", Role::kMeasure}});
    options.is_template = role == Role::kTemplate;
    options.measures = role == Role::kMeasure;
    return stored;
  }
  if (name == "--control-fd") return store_int(options.control_fd, name, value, 0, 1 << 20);
  if (name == "--lifeline-fd") return store_int(options.lifeline_fd, name, value, 0, 1 << 20);
  if (name == "--context") return store_int(options.context, name, value, 1, domain::kContextMax);
  if (name == "--slots") return store_int(options.slots, name, value, 1, domain::kSlotsMax);
  if (name == "--threads") return store_int(options.threads, name, value, 1, 512);
  if (name == "--cores") return store_int(options.cores, name, value, 1, 512);
  if (name == "--warm")
    return store_choice<bool>(options.warm, name, value, {{"yes", true}, {"no", false}});
  if (name == "--batch")
    return store_int(options.tuning.batch, name, value, 1, domain::kStepTokensMax);
  if (name == "--repack")
    return store_choice<domain::Repack>(options.tuning.repack, name, value,
                                        {{"on", domain::Repack::On}, {"off", domain::Repack::Off}});
  if (name == "--kv")
    return store_choice<domain::KvType>(
        options.tuning.kv, name, value,
        {{"f16", domain::KvType::F16}, {"q8_0", domain::KvType::Q8_0}});
  if (name == "--fake-load-ms") return store_int(options.fake.load_ms, name, value, 0, kLoadMsMax);
  if (name == "--fake-tokens-per-second")
    return store_rate(options.fake.tokens_per_second, name, value);
  if (name == "--fake-fault") return store_fault(options.fake, name, value);
  if (value.empty()) return refuse(name, "must not be empty");
  if (name == "--model") {
    options.model_path = value;
  } else if (name == "--chat-template-file") {
    options.chat_template_path = value;
  } else if (name == "--file-type") {
    options.file_type = value;
  } else if (name == "--socket") {
    options.socket_path = value;
    if (!value.ends_with(".sock"))
      return refuse(name, "'" + options.socket_path + "' must end in .sock");
    if (value.size() > kSocketPathMax) {
      return refuse(name, "'" + options.socket_path + "' is longer than the " +
                              std::to_string(kSocketPathMax) +
                              " bytes a Unix socket's path may have");
    }
  } else {
    return refuse(name, "no such option");
  }
  return {};
}

}  // namespace

Result<Options> parse_options(const std::vector<std::string>& arguments) {
  Options options;
  std::set<std::string, std::less<>> seen;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    std::string name = arguments[i];
    if (name == "--version") {
      options.version = true;
      return options;
    }
    if (!name.starts_with("--")) return refuse(name, "no such option");
    std::string value;
    if (const std::size_t equals = name.find('='); equals != std::string::npos) {
      value = name.substr(equals + 1);
      name.resize(equals);
    } else if (i + 1 < arguments.size()) {
      value = arguments[++i];
    } else {
      return refuse(name, "needs a value, or is no such option");
    }
    if (!seen.insert(name).second) return refuse(name, "is given twice");
    if (auto stored = store(options, name, value); !stored) return stored.error();
  }
  for (const char* name : {"--protocol", "--engine", "--socket", "--control-fd", "--lifeline-fd",
                           "--task", "--context", "--slots", "--threads", "--cores"}) {
    if (!seen.contains(name)) return refuse(name, "is required");
  }
  if (options.engine == EngineKind::kLlama && options.model_path.empty()) {
    return refuse("--model", "is required with --engine llama");
  }
  if (!options.file_type.empty() && !options.measures)
    return refuse("--file-type", "is for --role measure");
  if (options.tuning.batch > 0 && options.tuning.batch < options.slots + domain::kPromptTokensMin)
    return refuse("--batch", "a step needs room for a token of each slot and " +
                                 std::to_string(domain::kPromptTokensMin) + " of a prompt");
  if (options.cores < options.threads)
    return refuse("--cores",
                  "must be at least --threads, which is " + std::to_string(options.threads));
  if (options.control_fd == options.lifeline_fd) {
    return refuse("--lifeline-fd", "must differ from --control-fd");
  }
  return options;
}

}  // namespace glowplug::worker
