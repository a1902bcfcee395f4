#include "models/tuning_record.h"

#include <cmath>

#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include "domain/errors.h"
#include "domain/limits.h"

namespace glowplug::models {
namespace {

namespace json = boost::json;
using namespace domain;

Error unreadable(std::string_view what) {
  return {std::string(error::kServerError), fmt::format("{} cannot be read", what), ""};
}

json::value number_or_auto(int number) {
  return number == 0 ? json::value("auto") : json::value(number);
}

json::object spread_object(const Spread& spread) {
  return {{"median", spread.median}, {"low", spread.low}, {"high", spread.high}};
}

json::object figures_object(const Figures& figures) {
  return {{"prefill", spread_object(figures.prefill)},
          {"decode", spread_object(figures.decode)},
          {"rounds", figures.rounds},
          {"load_ms", figures.load_ms},
          {"private_bytes", figures.private_bytes},
          {"batch", figures.batch},
          {"repacked", figures.repacked}};
}

// Reading: everything absent or of another type is the empty value, and what must be there is
// checked by whoever reads the whole.
const json::value* at(const json::value& object, std::string_view key) {
  return object.is_object() ? object.get_object().if_contains(key) : nullptr;
}

double number_at(const json::value& object, std::string_view key) {
  const json::value* value = at(object, key);
  const double number = value != nullptr && value->is_number() ? value->to_number<double>() : 0;
  return std::isfinite(number) && number > 0 ? number : 0;
}

int int_at(const json::value& object, std::string_view key) {
  return static_cast<int>(std::min<double>(number_at(object, key), kStepTokensMax));
}

std::string text_at(const json::value& object, std::string_view key) {
  const json::value* value = at(object, key);
  return value != nullptr && value->is_string() ? std::string(value->get_string().c_str()) : "";
}

json::value object_at(const json::value& object, std::string_view key) {
  const json::value* value = at(object, key);
  return value != nullptr ? *value : json::value();
}

Spread spread_of(const json::value& value) {
  return {.median = number_at(value, "median"),
          .low = number_at(value, "low"),
          .high = number_at(value, "high")};
}

Figures figures_of(const json::value& value) {
  const json::value* repacked = at(value, "repacked");
  return {.prefill = spread_of(object_at(value, "prefill")),
          .decode = spread_of(object_at(value, "decode")),
          .rounds = int_at(value, "rounds"),
          .load_ms = number_at(value, "load_ms"),
          .private_bytes =
              static_cast<std::uint64_t>(std::min(number_at(value, "private_bytes"), 1e15)),
          .batch = int_at(value, "batch"),
          .repacked = repacked != nullptr && repacked->is_bool() && repacked->get_bool()};
}

EngineSettings settings_of(const json::value& value) {
  const std::string repack = text_at(value, "repack"), kv = text_at(value, "kv");
  EngineSettings settings{.threads = int_at(value, "threads"), .tuning = {}};
  settings.tuning.batch = int_at(value, "batch");
  if (repack == "on") settings.tuning.repack = Repack::On;
  if (repack == "off") settings.tuning.repack = Repack::Off;
  if (kv == "f16") settings.tuning.kv = KvType::F16;
  if (kv == "q8_0") settings.tuning.kv = KvType::Q8_0;
  return settings;
}

Trial trial_of(const json::value& value) {
  Trial trial{.settings = settings_of(object_at(value, "settings")),
              .file_type = text_at(value, "file_type"),
              .figures = {},
              .error = text_at(value, "error")};
  if (const json::value* figures = at(value, "figures"); figures != nullptr && figures->is_object())
    trial.figures = figures_of(*figures);
  return trial;
}

Result<json::value> parse(std::string_view text, std::string_view what) {
  boost::system::error_code code;
  json::value value = json::parse(json::string_view(text.data(), text.size()), code);
  if (code || !value.is_object()) return unreadable(what);
  return value;
}

}  // namespace

json::object settings_object(const EngineSettings& settings) {
  return {{"threads", number_or_auto(settings.threads)},
          {"batch", number_or_auto(settings.tuning.batch)},
          {"repack", to_string(settings.tuning.repack)},
          {"kv", to_string(settings.tuning.kv)}};
}

json::object trial_object(const Trial& trial) {
  json::object object{{"settings", settings_object(trial.settings)}};
  if (!trial.file_type.empty()) object["file_type"] = trial.file_type;
  if (trial.figures) object["figures"] = figures_object(*trial.figures);
  if (!trial.error.empty()) object["error"] = trial.error;
  return object;
}

json::object tune_object(const TuneResult& result) {
  json::array trials;
  for (const Trial& trial : result.trials) trials.emplace_back(trial_object(trial));
  json::object object{{"cores", result.cores},
                      {"calls_meanwhile", result.calls_meanwhile},
                      {"choice", settings_object(result.choice)},
                      {"trials", std::move(trials)}};
  if (result.faster_file)
    object["faster_file"] = json::object{{"file_type", result.faster_file->file_type},
                                         {"source", result.faster_file->source},
                                         {"times", result.faster_file->times}};
  return object;
}

std::string write_tuning_record(const TuneResult& result) {
  return json::serialize(tune_object(result));
}

Result<TuneResult> read_tuning_record(std::string_view text) {
  const Result<json::value> value = parse(text, "the record of a tune");
  if (!value) return value.error();
  TuneResult result;
  result.cores = int_at(*value, "cores");
  result.calls_meanwhile = int_at(*value, "calls_meanwhile");
  result.choice = settings_of(object_at(*value, "choice"));
  const json::value* trials = at(*value, "trials");
  if (result.cores < 1 || trials == nullptr || !trials->is_array())
    return unreadable("the record of a tune");
  for (const json::value& trial : trials->get_array()) {
    if (result.trials.size() >= static_cast<std::size_t>(kTuneTrialsMax)) break;
    result.trials.push_back(trial_of(trial));
  }
  if (const json::value* file = at(*value, "faster_file"); file != nullptr && file->is_object())
    result.faster_file = FasterFile{.file_type = text_at(*file, "file_type"),
                                    .source = text_at(*file, "source"),
                                    .times = number_at(*file, "times")};
  return result;
}

Result<Figures> read_measured_line(std::string_view line) {
  const Result<json::value> value = parse(line, "what was measured");
  if (!value) return value.error();
  const Figures figures = figures_of(object_at(*value, "measured"));
  if (figures.rounds < 1 || figures.prefill.median <= 0) return unreadable("what was measured");
  return figures;
}

}  // namespace glowplug::models
