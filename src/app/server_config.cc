#include "app/server_config.h"

#include <algorithm>
#include <filesystem>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "app/device_settings.h"
#include "app/price_settings.h"
#include "app/webhook_settings.h"
#include "base/units.h"
#include "cli/folders.h"
#include "cli/read_input.h"
#include "domain/errors.h"
#include "domain/limits.h"
#include "gateway/gateway.h"
#include "models/budget_fields.h"
#include "models/manifest_fields.h"
#include "models/model_source.h"
#include "models/yaml_document.h"

namespace glowplug::app {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using models::ManifestFields;
using models::shown;

constexpr std::size_t kTextBytesMax = 4096;
constexpr std::size_t kTokenBytesMax = 4096;
constexpr int kBatchLinesSetMax = 1'000'000;  // their ids are held in memory while they are checked
constexpr const char* kTokenInline =
    "a token does not belong into this file; put it into one of its own that the server alone may "
    "read, and name that in hub_token_file";

Error fault(std::string message) {
  return {std::string(domain::error::kInvalidValue), std::move(message), "config"};
}

// YAML without a value in it is a file in which nothing is set.
bool says_nothing(std::string_view text) {
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const auto first = line.find_first_not_of(" \t\r");
    if (first != std::string_view::npos && line[first] != '#') return false;
  }
  return true;
}

class SettingsReader final {
 public:
  SettingsReader(const json::object& object, fs::path folder, ManifestFields::Faults& faults)
      : object_(object), fields_(object, "", faults), folder_(std::move(folder)) {}

  void refuse_unknown() {
    std::vector<std::string_view> known = config_keys();
    if (object_.contains("hub_token")) {
      fields_.fault("hub_token", kTokenInline);
      known.push_back("hub_token");
    }
    fields_.refuse_unknown(known);
  }

  void text(std::string_view key, std::optional<std::string>& into) {
    if (fields_.find(key) == nullptr) return;
    std::string read;
    const std::size_t faults = fields_.faults().size();
    fields_.read_text(key, read, kTextBytesMax);
    if (fields_.faults().size() != faults) return;
    if (read.empty()) return fields_.fault(key, "is empty; leave it out for its default");
    into = std::move(read);
  }

  void address(std::string_view key, std::optional<std::string>& into) {
    const json::value* value = fields_.find(key);
    if (value == nullptr) return;
    const std::string_view read = value->is_string() ? std::string_view(value->get_string()) : "";
    if (!gateway::parse_listen(read))
      return fields_.fault(
          key, fmt::format("must be HOST:PORT such as 127.0.0.1:4569, not {}", shown(*value)));
    into = std::string(read);
  }

  void path(std::string_view key, std::optional<std::string>& into) {
    std::optional<std::string> read;
    text(key, read);
    if (!read) return into.reset();
    if (read->starts_with('~')) {
      fields_.fault(key,
                    fmt::format("\"{}\": ~ is not replaced here; write the path in full", *read));
      return into.reset();
    }
    into = (folder_ / *read).lexically_normal().string();
  }

  void url(std::string_view key, std::optional<std::string>& into) {
    text(key, into);
    if (into && !models::is_fetchable_url(*into))
      fields_.fault(key,
                    "must be an https:// address without a user name in it (http:// for this "
                    "machine only)");
  }

  // A size, or one of the words that stand for one.
  void bytes(std::string_view key,
             std::initializer_list<std::pair<std::string_view, std::uint64_t>> words,
             std::optional<std::uint64_t>& into) {
    const json::value* value = fields_.find(key);
    if (value == nullptr) return;
    std::optional<std::uint64_t> size;
    if (value->is_string()) {
      const std::string_view read(value->get_string());
      for (const auto& [word, meant] : words) {
        if (read != word) continue;
        into = meant;
        return;
      }
      size = parse_bytes(read);
    } else if (value->is_int64() && value->get_int64() > 0) {
      size = static_cast<std::uint64_t>(value->get_int64());
    }
    if (size.value_or(0) > 0) {
      into = size;
      return;
    }
    std::string spelled;
    for (const auto& [word, meant] : words)
      fmt::format_to(std::back_inserter(spelled), "{}{}", spelled.empty() ? "" : ", ", word);
    fields_.fault(key, fmt::format("must be {}a size such as 8GiB, not {}",
                                   spelled.empty() ? "" : spelled + " or ", shown(*value)));
  }

  void number(std::string_view key, models::IntRange range, std::optional<int>& into) {
    if (fields_.find(key) == nullptr) return;
    int read = 0;
    fields_.read_int(key, read, range);
    into = read;
  }

  // Or auto, which is zero.
  void number_or_auto(std::string_view key, models::IntRange range, std::optional<int>& into) {
    const json::value* value = fields_.find(key);
    if (value == nullptr) return;
    if (value->is_string() && std::string_view(value->get_string()) == "auto") {
      into = 0;
    } else if (value->is_int64() && value->get_int64() >= range.low &&
               value->get_int64() <= range.high) {
      into = static_cast<int>(value->get_int64());
    } else {
      fields_.fault(key, fmt::format("must be auto or a whole number from {} to {}, not {}",
                                     range.low, range.high, shown(*value)));
    }
  }

  // A duration above zero, or off, which is zero.
  void interval(std::string_view key, std::optional<Duration>& into) {
    const json::value* value = fields_.find(key);
    if (value == nullptr) return;
    const std::string_view read = value->is_string() ? std::string_view(value->get_string()) : "";
    const auto parsed = read == "off" ? std::optional(Duration(0)) : parse_duration(read);
    if (!parsed || *parsed == kForever || (*parsed == Duration(0) && read != "off"))
      return fields_.fault(
          key, fmt::format("must be off or a duration such as 24h, not {}", shown(*value)));
    into = parsed;
  }

  void flag(std::string_view key, std::optional<bool>& into) {
    const json::value* value = fields_.find(key);
    if (value == nullptr) return;
    if (!value->is_bool())
      return fields_.fault(key, fmt::format("must be true or false, not {}", shown(*value)));
    into = value->get_bool();
  }

  void word(std::string_view key, const std::vector<std::string_view>& words,
            std::optional<std::string>& into) {
    const json::value* value = fields_.find(key);
    if (value == nullptr) return;
    const std::string_view read = value->is_string() ? std::string_view(value->get_string()) : "";
    if (std::find(words.begin(), words.end(), read) == words.end())
      return fields_.fault(
          key, fmt::format("must be {}, not {}", fmt::join(words, ", "), shown(*value)));
    into = std::string(read);
  }

  void prices(std::string_view key, std::optional<domain::PriceTable>& into) {
    if (const json::value* rows = fields_.find(key)) into = read_prices(*rows, fields_.faults());
  }

  void webhooks(std::string_view key, std::optional<models::TargetRule>& into) {
    if (const json::value* said = fields_.find(key)) into = read_webhooks(*said, fields_.faults());
  }

  // Or off, which is nothing.
  void budget(std::string_view key, std::optional<domain::Money>& into) {
    const json::value* value = fields_.find(key);
    if (value == nullptr) return;
    const bool is_off = value->is_string() && std::string_view(value->get_string()) == "off";
    into = is_off ? domain::Money{} : models::budget_money(*value);
    if (!into)
      fields_.fault(key, fmt::format("must be off or {}, not {}", models::budget_money_in_words(),
                                     shown(*value)));
  }

  // Of `memory` too, which must not say something else of the CPU.
  void devices(std::string_view key, FileSettings& settings) {
    const json::value* rows = fields_.find(key);
    if (rows == nullptr) return;
    // What prices there are is not known where their setting is at fault.
    const domain::PriceTable usual = domain::default_prices();
    const domain::PriceTable* prices = settings.prices ? &*settings.prices : &usual;
    if (fields_.find("prices") != nullptr && !settings.prices) prices = nullptr;
    settings.devices = read_devices(*rows, prices, fields_.faults());
    if (!settings.devices) return;
    for (const domain::Device& device : *settings.devices) {
      if (!device.is_cpu() || device.memory_bytes == 0) continue;
      const std::uint64_t memory = settings.memory_bytes.value_or(0);
      if (memory != 0 && memory != device.memory_bytes)
        fields_.fault(key, fmt::format("say {} of the CPU, and memory says {}; leave one out",
                                       format_bytes(device.memory_bytes), format_bytes(memory)));
      settings.memory_bytes = device.memory_bytes;
    }
  }

  // A library's file, or one of the words that stand for one.
  void library(std::string_view key, std::string_view usual, std::optional<std::string>& into) {
    text(key, into);
    if (!into) return;
    if (*into == "auto")
      into = std::string(usual);
    else if (*into == "off")
      into = "";
    else
      path(key, into);
  }

  // The content of the file that `key` names.
  void token(std::string_view key, std::optional<std::string>& into) {
    std::optional<std::string> file;
    text(key, file);
    if (!file) return;
    // Something like hf_… is a token in the wrong place, which a message must not repeat.
    if (file->starts_with("hf_") && file->find_first_of("/.") == std::string::npos)
      return fields_.fault(key, kTokenInline);
    path(key, file);
    if (!file) return;
    Result<std::string> read = cli::read_file(*file);
    if (!read) return fields_.fault(key, read.error().message);
    while (read->ends_with('\n') || read->ends_with('\r') || read->ends_with(' ')) read->pop_back();
    const bool one_word = std::all_of(read->begin(), read->end(),
                                      [](unsigned char c) { return c > ' ' && c < 0x7f; });
    if (read->empty() || read->size() > kTokenBytesMax || !one_word)
      return fields_.fault(
          key, fmt::format("'{}' must hold the token and nothing else, on one line", *file));
    into = *std::move(read);
  }

 private:
  const json::object& object_;
  ManifestFields fields_;
  fs::path folder_;
};

Result<FileSettings> read_settings_file(const std::string& path) {
  const Result<std::string> text = cli::read_file(path);
  if (!text) return fault(text.error().message);
  std::error_code ignored;
  return read_settings(*text, fs::absolute(path, ignored).parent_path().string());
}

}  // namespace

const std::vector<std::string_view>& config_keys() {
  static const std::vector<std::string_view> keys{"listen",
                                                  "admin_listen",
                                                  "data_dir",
                                                  "cache_dir",
                                                  "worker",
                                                  "memory",
                                                  "cores",
                                                  "template_memory",
                                                  "spares",
                                                  "standby",
                                                  "autoscaler_speed",
                                                  "prompt_cache",
                                                  "cache_budget",
                                                  "cache_scrub",
                                                  "decision_log",
                                                  "log_level",
                                                  "hub_url",
                                                  "hub_token_file",
                                                  "pip_index_url",
                                                  "allow_process_engines",
                                                  "allow_private_sources",
                                                  "prices",
                                                  "budget_per_hour",
                                                  "devices",
                                                  "webhooks",
                                                  "files_budget",
                                                  "ballast",
                                                  "batch_lines",
                                                  "nvml"};
  return keys;
}

Result<FileSettings> read_settings(std::string_view text, const std::string& folder) {
  FileSettings settings;
  if (says_nothing(text)) return settings;
  const Result<json::value> document = models::parse_document(text);
  if (!document) return fault(document.error().message);
  if (!document->is_object())
    return fault("settings are a mapping of keys, not " + shown(*document));
  ManifestFields::Faults faults;
  SettingsReader reader(document->get_object(), folder, faults);
  reader.refuse_unknown();
  reader.address("listen", settings.listen);
  reader.address("admin_listen", settings.admin_listen);
  reader.path("data_dir", settings.data_dir);
  reader.path("cache_dir", settings.cache_dir);
  reader.path("worker", settings.worker);
  reader.bytes("memory", {{"auto", 0}}, settings.memory_bytes);
  reader.number_or_auto("cores", {1, domain::kCoresMax}, settings.cores);
  reader.bytes("template_memory", {{"auto", cli::kTemplateMemoryAuto}, {"off", 0}},
               settings.template_bytes);
  reader.number("spares", {0, domain::kSparesMax}, settings.spares);
  reader.number("standby", {0, domain::kStandbyMax}, settings.standby);
  reader.number("autoscaler_speed", {1, domain::kAutoscalerSpeedMax}, settings.autoscaler_speed);
  reader.bytes("prompt_cache", {{"off", 0}}, settings.prompt_cache_bytes);
  reader.bytes("cache_budget", {{"auto", 0}}, settings.cache_budget_bytes);
  reader.interval("cache_scrub", settings.cache_scrub);
  reader.bytes("decision_log", {{"off", 0}}, settings.decision_log_bytes);
  reader.flag("allow_process_engines", settings.allow_process_engines);
  reader.flag("allow_private_sources", settings.allow_private_sources);
  reader.word("log_level", {"trace", "debug", "info", "warn", "error"}, settings.log_level);
  reader.url("hub_url", settings.hub_url);
  reader.token("hub_token_file", settings.hub_token);
  reader.url("pip_index_url", settings.pip_index_url);
  reader.prices("prices", settings.prices);
  reader.budget("budget_per_hour", settings.budget_per_hour);
  reader.devices("devices", settings);
  reader.webhooks("webhooks", settings.webhooks);
  reader.bytes("files_budget", {}, settings.files_budget_bytes);
  reader.bytes("ballast", {{"off", 0}}, settings.ballast_bytes);
  reader.number("batch_lines", {1, kBatchLinesSetMax}, settings.batch_lines);
  reader.library("nvml", kNvmlDefault, settings.nvml);
  if (faults.empty()) return settings;
  return fault(fmt::format("{}", fmt::join(faults, "\n  ")));
}

Result<ServerConfig> server_config(const cli::ServeOptions& options,
                                   const Environment& environment) {
  FileSettings file;
  if (!options.config_file.empty()) {
    Result<FileSettings> read = read_settings_file(options.config_file);
    if (!read)
      return fault(fmt::format("the settings in {} cannot be used:\n  {}", options.config_file,
                               read.error().message));
    file = *std::move(read);
  }
  const auto set = [](std::string& into, std::initializer_list<std::optional<std::string>> from) {
    for (const std::optional<std::string>& one : from) {
      if (!one || one->empty()) continue;
      into = *one;
      return;
    }
  };
  ServerConfig config;
  set(config.listen, {options.listen, file.listen});
  set(config.admin_listen, {options.admin_listen, file.admin_listen});
  set(config.data_dir,
      {options.data_dir, environment("GLOWPLUG_DATA_DIR"), file.data_dir, cli::default_data_dir()});
  set(config.cache_dir, {options.cache_dir, environment("GLOWPLUG_CACHE_DIR"), file.cache_dir,
                         cli::default_cache_dir()});
  set(config.worker_path, {options.worker_path, file.worker});
  set(config.log_level, {options.log_level, file.log_level});
  config.memory_bytes = options.memory_bytes.value_or(file.memory_bytes.value_or(0));
  config.cores = options.cores.value_or(file.cores.value_or(0));
  config.autoscaler_speed = file.autoscaler_speed.value_or(1);
  config.standby = options.standby.value_or(file.standby.value_or(config.standby));
  config.spares = options.spares.value_or(file.spares.value_or(config.spares));
  config.prompt_cache_bytes = options.prompt_cache_bytes.value_or(
      file.prompt_cache_bytes.value_or(config.prompt_cache_bytes));
  config.template_bytes =
      options.template_bytes.value_or(file.template_bytes.value_or(config.template_bytes));
  config.cache_budget_bytes =
      options.cache_budget_bytes.value_or(file.cache_budget_bytes.value_or(0));
  config.decision_log_bytes = file.decision_log_bytes.value_or(0);
  config.cache_scrub = options.cache_scrub.value_or(file.cache_scrub.value_or(config.cache_scrub));
  config.allow_process_engines =
      options.allow_process_engines.value_or(file.allow_process_engines.value_or(false));
  config.allow_private_sources =
      options.allow_private_sources.value_or(file.allow_private_sources.value_or(false));
  set(config.hub_url, {environment("HF_ENDPOINT"), file.hub_url});
  set(config.pip_index_url, {environment("PIP_INDEX_URL"), file.pip_index_url});
  set(config.hub_token, {environment("HF_TOKEN"), file.hub_token});
  if (file.prices) config.prices = *std::move(file.prices);
  config.budget_per_hour =
      options.budget_per_hour.value_or(file.budget_per_hour.value_or(domain::Money{}));
  config.devices = std::move(file.devices);
  if (file.webhooks) config.webhooks = *std::move(file.webhooks);
  config.ballast_bytes = file.ballast_bytes.value_or(config.ballast_bytes);
  config.files_budget_bytes = file.files_budget_bytes.value_or(config.files_budget_bytes);
  config.batch_lines = file.batch_lines.value_or(config.batch_lines);
  if (file.nvml) config.nvml = *std::move(file.nvml);
  return config;
}

}  // namespace glowplug::app
