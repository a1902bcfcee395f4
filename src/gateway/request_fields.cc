#include "gateway/request_fields.h"

#include <algorithm>
#include <cmath>

#include <boost/json/array.hpp>
#include <boost/json/value.hpp>

#include "base/units.h"
#include "domain/errors.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace glowplug::gateway {

namespace json = boost::json;

namespace {

Error make(std::string_view code, std::string_view param, const std::string& what) {
  return Error{std::string(code), "`" + std::string(param) + "` " + what, std::string(param)};
}

bool is_image_or_audio(std::string_view type) {
  return type == "image_url" || type == "input_image" || type == "image" || type == "input_audio" ||
         type == "file" || type == "input_file" || type == "document";
}

Result<void> check_content(const json::value& content, std::string_view name) {
  if (content.is_string()) return {};
  if (!content.is_array())
    return invalid(name, "has a content that is neither a string nor an array of parts.");
  for (const json::value& part : content.as_array()) {
    const json::value* type = part.is_object() ? part.as_object().if_contains("type") : nullptr;
    if (!type || !type->is_string()) return invalid(name, "has a content part without a type.");
    const std::string_view kind(type->as_string());
    if (is_image_or_audio(kind)) {
      return unsupported(name, "has a content part of type " + std::string(kind) +
                                   ", and this function reads text only. Send text parts.");
    }
    if (kind != "text" && kind != "input_text" && kind != "output_text") continue;
    const json::value* text = part.as_object().if_contains("text");
    if (!text || !text->is_string())
      return invalid(name, "has a text part whose text is not a string.");
  }
  return {};
}

// A turn of the model's may be nothing but calls of tools, or thought.
bool says_without_content(const json::object& message) {
  for (const std::string_view other : {"tool_calls", "function_call", "reasoning_content"})
    if (field(message, other) != nullptr) return true;
  return false;
}

}  // namespace

Error invalid(std::string_view param, const std::string& what) {
  return make(domain::error::kInvalidValue, param, what);
}
Error unsupported(std::string_view param, const std::string& what) {
  return make(domain::error::kUnsupportedValue, param, what);
}
Error missing(std::string_view param, const std::string& what) {
  return make(domain::error::kMissingField, param, what);
}

const json::value* field(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value && !value->is_null() ? value : nullptr;
}

bool flag(const json::object& object, std::string_view name) {
  const json::value* value = field(object, name);
  return value && value->is_bool() && value->as_bool();
}

std::optional<long> integer(const json::object& object, std::string_view name) {
  const json::value* value = field(object, name);
  if (!value) return std::nullopt;
  if (value->is_int64()) return static_cast<long>(value->as_int64());
  if (value->is_uint64()) return INT64_MAX;
  if (value->is_double() && std::abs(value->as_double()) < 1e15 &&
      std::floor(value->as_double()) == value->as_double()) {
    return static_cast<long>(value->as_double());
  }
  return std::nullopt;
}

Result<void> check_known(std::string_view key, const std::vector<std::string_view>& known) {
  if (std::find(known.begin(), known.end(), key) != known.end()) return {};
  return invalid(key.substr(0, 64),
                 fmt::format("is unknown; known are {} and {}.",
                             fmt::join(known.begin(), known.end() - 1, ", "), known.back()));
}

Result<void> check_number(const json::object& object, std::string_view name, Range range) {
  const json::value* value = field(object, name);
  if (!value) return {};
  boost::system::error_code ec;
  if (!value->is_number()) return invalid(name, "must be a number.");
  const double number = value->to_number<double>(ec);
  if (!(number >= range.low && number <= range.high)) {
    return invalid(
        name, fmt::format("is {}; it must lie between {} and {}.", number, range.low, range.high));
  }
  return {};
}

Result<void> check_integer(const json::object& object, std::string_view name, Range range) {
  const json::value* value = field(object, name);
  if (!value) return {};
  const std::optional<long> number = integer(object, name);
  if (!number) return invalid(name, "must be a whole number.");
  const auto as_double = static_cast<double>(*number);
  if (as_double < range.low || as_double > range.high) {
    if (range.high > 1e15)
      return invalid(name, fmt::format("is {}; it must be at least {}.", *number, range.low));
    return invalid(
        name, fmt::format("is {}; it must lie between {} and {}.", *number, range.low, range.high));
  }
  return {};
}

Result<void> check_kind(const json::object& object, std::string_view name, JsonKind kind) {
  const json::value* value = field(object, name);
  if (!value) return {};
  if (kind == JsonKind::Bool && !value->is_bool()) return invalid(name, "must be true or false.");
  if (kind == JsonKind::String && !value->is_string()) return invalid(name, "must be a string.");
  if (kind == JsonKind::Object && !value->is_object()) return invalid(name, "must be an object.");
  if (kind == JsonKind::Array && !value->is_array()) return invalid(name, "must be an array.");
  return {};
}

Result<void> check_stop(const json::object& object, std::string_view name) {
  const json::value* value = field(object, name);
  constexpr const char* kEmpty = "must not be empty: it would end every answer at once.";
  if (!value) return {};
  if (value->is_string()) {
    if (value->as_string().empty()) return invalid(name, kEmpty);
    return {};
  }
  if (!value->is_array()) return invalid(name, "must be a string or an array of strings.");
  const json::array& list = value->as_array();
  if (list.size() > 4)
    return invalid(name, fmt::format("has {} entries; at most 4 are allowed.", list.size()));
  for (const json::value& entry : list) {
    if (!entry.is_string()) return invalid(name, "must hold strings only.");
    if (entry.as_string().empty()) return invalid(name, kEmpty);
  }
  return {};
}

Result<void> check_messages(const json::object& object, std::string_view name,
                            std::initializer_list<std::string_view> roles) {
  const json::value* value = field(object, name);
  if (!value) return missing(name, "is required: an array of messages.");
  if (!value->is_array()) return invalid(name, "must be an array of messages.");
  if (value->as_array().empty()) return invalid(name, "must hold at least one message.");
  for (const json::value& message : value->as_array()) {
    if (!message.is_object()) return invalid(name, "must hold objects only.");
    const json::value* role = message.as_object().if_contains("role");
    if (!role || !role->is_string()) return invalid(name, "has a message without a role.");
    bool known = false;
    for (const std::string_view allowed : roles)
      known = known || std::string_view(role->as_string()) == allowed;
    if (!known) {
      return invalid(name,
                     "has the unknown role " + std::string(role->as_string().subview(0, 40)) + ".");
    }
    if (const json::value* content = field(message.as_object(), "content")) {
      if (Result<void> checked = check_content(*content, name); !checked) return checked;
    } else if (!says_without_content(message.as_object())) {
      return invalid(name, fmt::format("has a message of role {} without a content.",
                                       std::string_view(role->as_string())));
    }
  }
  return {};
}

Result<void> check_logit_bias(const json::object& object) {
  constexpr std::string_view kName = "logit_bias";
  if (Result<void> kind = check_kind(object, kName, JsonKind::Object); !kind) return kind;
  const json::value* value = field(object, kName);
  if (value == nullptr) return {};
  for (const auto& [token, bias] : value->as_object()) {
    const std::string_view number = token;
    if (number.empty() || number.size() > 9 ||
        number.find_first_not_of("0123456789") != std::string_view::npos)
      return invalid(kName, fmt::format("has the key \"{}\", which is no token's number.",
                                        number.substr(0, 40)));
    boost::system::error_code ec;
    const double by = bias.is_number() ? bias.to_number<double>(ec) : 1e9;
    if (!(by >= -100 && by <= 100))
      return invalid(kName,
                     fmt::format("of token {} must be a number between -100 and 100.", number));
  }
  return {};
}

Result<std::optional<Duration>> read_keep_alive(const json::object& object) {
  const json::value* value = field(object, "keep_alive");
  if (!value) return std::optional<Duration>();
  std::optional<Duration> parsed;
  if (value->is_string()) parsed = parse_duration(std::string_view(value->as_string()));
  if (value->is_number()) {
    boost::system::error_code ec;
    const double seconds = value->to_number<double>(ec);
    if (seconds < 0)
      parsed = kForever;
    else if (seconds < 1e9)
      parsed = Duration(static_cast<std::int64_t>(seconds * 1e9));
  }
  if (!parsed)
    return invalid("keep_alive", "must be a duration like \"5m\", a number of seconds, or -1.");
  return parsed;
}

std::size_t text_bytes(const json::value& value) {
  if (value.is_string()) return value.as_string().size();
  std::size_t sum = 0;
  if (value.is_array()) {
    for (const json::value& entry : value.as_array()) sum += text_bytes(entry);
  } else if (value.is_object()) {
    for (const auto& pair : value.as_object()) sum += text_bytes(pair.value());
  }
  return sum;
}

}  // namespace glowplug::gateway
