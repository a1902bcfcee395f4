#include "models/manifest_fields.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include <boost/json/serialize.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/units.h"
#include "models/nearest_name.h"

namespace glowplug::models {
namespace {

namespace json = boost::json;

constexpr std::uint64_t kMemoryMin = std::uint64_t{1} << 20;
constexpr std::uint64_t kMemoryMax = std::uint64_t{1} << 50;
constexpr std::size_t kEnvironmentMax = 128;
constexpr std::size_t kEnvironmentValueBytesMax = 32 * 1024;

std::optional<std::int64_t> integer_of(const json::value& value) {
  if (value.is_int64()) return value.get_int64();
  if (value.is_uint64() && value.get_uint64() <= std::uint64_t(INT64_MAX))
    return static_cast<std::int64_t>(value.get_uint64());
  return std::nullopt;
}

// Seconds as a number, or text with units; whole milliseconds, so that writing and reading agree
// exactly.
std::optional<Duration> duration_of(const json::value& value) {
  std::optional<Duration> read;
  if (value.is_string()) {
    const json::string& text = value.get_string();
    read = parse_duration(std::string_view(text.data(), text.size()));
  } else if (const auto seconds = number_of(value)) {
    if (*seconds < 0) return kForever;
    if (*seconds > 9e9) return std::nullopt;
    read = Duration(std::llround(*seconds * 1e9));
  }
  if (!read || *read == kForever) return read;
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(*read);
  return ms.count() > 9'000'000'000'000 ? std::nullopt : std::optional<Duration>(ms);
}

bool is_variable_name(std::string_view name) {
  const auto letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  };
  if (name.empty() || !letter(name.front())) return false;
  return std::all_of(name.begin(), name.end(),
                     [&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
}

// Why a value cannot be used as text; empty when it can.
std::string text_fault(const json::value& value, std::size_t bytes_max) {
  if (!value.is_string())
    return fmt::format("must be text, not {}; put it in quotes", shown(value));
  if (value.get_string().size() > bytes_max)
    return fmt::format("is longer than {} bytes", bytes_max);
  if (value.get_string().find('\0') != json::string::npos) return "contains a NUL character";
  return {};
}

}  // namespace

std::string shown(const json::value& value) {
  if (value.is_object()) return "a mapping";
  if (value.is_array()) return "a list";
  std::string text = json::serialize(value);
  if (text.size() > 64) text = text.substr(0, 60) + "…\"";
  return text;
}

std::string ManifestFields::path_of(std::string_view key) const {
  return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
}

void ManifestFields::fault(std::string_view key, const std::string& what) {
  faults_.push_back(fmt::format("{}: {}", path_of(key), what));
}

const json::value* ManifestFields::find(std::string_view key) const {
  const auto found = object_.find(key);
  return found == object_.end() || found->value().is_null() ? nullptr : &found->value();
}

std::optional<double> number_of(const json::value& value) {
  if (value.is_double() && std::isfinite(value.get_double())) return value.get_double();
  if (const auto integer = integer_of(value)) return static_cast<double>(*integer);
  return std::nullopt;
}

std::optional<std::uint64_t> memory_of(const json::value& value) {
  std::optional<std::uint64_t> bytes;
  if (value.is_string()) bytes = parse_bytes(std::string_view(value.get_string()));
  if (value.is_int64() && value.get_int64() > 0)
    bytes = static_cast<std::uint64_t>(value.get_int64());
  return bytes && *bytes >= kMemoryMin && *bytes <= kMemoryMax ? bytes : std::nullopt;
}

void ManifestFields::refuse_unknown(const std::vector<std::string_view>& known) {
  for (const auto& member : object_) {
    const std::string_view key(member.key().data(), member.key().size());
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    const std::string near = nearest_name(key, known);
    fault(key.substr(0, 64), near.empty()
                                 ? fmt::format("unknown key; known are {}", fmt::join(known, ", "))
                                 : fmt::format("unknown key; did you mean \"{}\"?", near));
  }
}

void ManifestFields::read_text(std::string_view key, std::string& into, std::size_t bytes_max) {
  const json::value* value = find(key);
  if (value == nullptr) return;
  if (const std::string why = text_fault(*value, bytes_max); !why.empty()) return fault(key, why);
  into.assign(value->get_string().data(), value->get_string().size());
}

void ManifestFields::read_texts(std::string_view key, std::vector<std::string>& into,
                                std::size_t count_max, std::size_t bytes_max) {
  const json::value* value = find(key);
  if (value == nullptr) return;
  if (!value->is_array())
    return fault(key, fmt::format("must be a list of texts, not {}", shown(*value)));
  if (value->get_array().size() > count_max)
    return fault(key, fmt::format("has {} entries; at most {} are accepted",
                                  value->get_array().size(), count_max));
  into.clear();
  for (const json::value& entry : value->get_array()) {
    const std::string why = text_fault(entry, bytes_max);
    if (!why.empty()) {
      fault(fmt::format("{}[{}]", key, into.size()), why);
      into.emplace_back();
      continue;
    }
    into.emplace_back(entry.get_string().data(), entry.get_string().size());
  }
}

void ManifestFields::read_text_map(std::string_view key, std::map<std::string, std::string>& into) {
  const json::value* value = find(key);
  if (value == nullptr) return;
  if (!value->is_object())
    return fault(key, fmt::format("must be a mapping of texts, not {}", shown(*value)));
  if (value->get_object().size() > kEnvironmentMax)
    return fault(key, fmt::format("has more than {} entries", kEnvironmentMax));
  into.clear();
  for (const auto& member : value->get_object()) {
    const std::string name(member.key().data(), member.key().size());
    const std::string path = fmt::format("{}.{}", key, name.substr(0, 64));
    if (!is_variable_name(name)) fault(path, "is not a variable name ([A-Za-z_][A-Za-z0-9_]*)");
    const std::string why = text_fault(member.value(), kEnvironmentValueBytesMax);
    if (!why.empty()) fault(path, why);
    if (why.empty()) into[name] = std::string(member.value().get_string().c_str());
  }
}

void ManifestFields::read_int(std::string_view key, int& into, IntRange range,
                              std::string_view or_word) {
  const json::value* value = find(key);
  if (value == nullptr) return;
  const auto number = integer_of(*value);
  if (!number || *number < range.low || *number > range.high)
    return fault(key, fmt::format("must be {}a whole number from {} to {}, not {}", or_word,
                                  range.low, range.high, shown(*value)));
  into = static_cast<int>(*number);
}

void ManifestFields::read_number(std::string_view key, double& into, double above, double most) {
  const json::value* value = find(key);
  if (value == nullptr) return;
  const auto number = number_of(*value);
  if (!number || *number <= above || *number > most)
    return fault(key, fmt::format("must be a number above {} and at most {}, not {}", above, most,
                                  shown(*value)));
  into = *number;
}

void ManifestFields::read_duration(std::string_view key, Duration& into, DurationRange range) {
  const json::value* value = find(key);
  if (value == nullptr) return;
  const auto read = duration_of(*value);
  if (!read || *read < range.low || *read > range.high)
    return fault(
        key, fmt::format("must be a duration from {} to {} such as \"60s\", not {}",
                         format_duration(range.low), format_duration(range.high), shown(*value)));
  into = *read;
}

void ManifestFields::read_keep_alive(std::string_view key, Duration& into, Duration longest) {
  const json::value* value = find(key);
  if (value == nullptr) return;
  const auto read = duration_of(*value);
  if (!read || (*read > longest && *read != kForever))
    return fault(
        key, fmt::format(
                 "must be a duration such as \"5m\", 0 (stop at once), -1 (never stop) or a number "
                 "of seconds, at most {}, not {}",
                 format_duration(longest), shown(*value)));
  into = *read;
}

int ManifestFields::pick_word(std::string_view key, const std::vector<std::string_view>& words) {
  const json::value* value = find(key);
  if (value == nullptr) return -1;
  if (value->is_string()) {
    const std::string_view word(value->get_string().data(), value->get_string().size());
    const auto found = std::find(words.begin(), words.end(), word);
    if (found != words.end()) return static_cast<int>(found - words.begin());
  }
  fault(key, fmt::format("must be {}, not {}", fmt::join(words, " or "), shown(*value)));
  return -1;
}

}  // namespace glowplug::models
