#include "gateway/json_text.h"

#include <string>
#include <utility>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/stream_parser.hpp>

#include "domain/errors.h"
#include "domain/limits.h"

namespace glowplug::gateway {
namespace {

namespace json = boost::json;

Error invalid_json(std::size_t at, const std::string& why) {
  return Error{std::string(domain::error::kInvalidJson),
               "The body is not valid JSON: " + why + " at byte " + std::to_string(at) + ".", ""};
}

// Whether the quoted token is "model", also when it is spelled with escapes.
bool spells_model(std::string_view quoted) {
  if (quoted.find('\\') == std::string_view::npos) return quoted == "\"model\"";
  boost::system::error_code ec;
  const json::value value = json::parse(quoted, ec);
  return !ec && value.is_string() && value.as_string() == "model";
}

// How often the top-level object of this valid JSON text names `model`.
int count_model_keys(std::string_view text) {
  int depth = 0;
  int found = 0;
  bool key_next = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '{' || c == '[') {
      ++depth;
      key_next = depth == 1 && c == '{';
    } else if (c == '}' || c == ']') {
      --depth;
    } else if (c == ',' && depth == 1) {
      key_next = true;
    } else if (c == '"') {
      std::size_t end = i + 1;
      while (end < text.size() && text[end] != '"') end += text[end] == '\\' ? 2 : 1;
      if (depth == 1 && key_next && spells_model(text.substr(i, end + 1 - i))) ++found;
      if (depth == 1) key_next = false;
      i = end;
    }
  }
  return found;
}

}  // namespace

Result<boost::json::object> parse_object(std::string_view text) {
  json::parse_options options;
  options.max_depth = domain::kJsonDepthMax;
  json::stream_parser parser({}, options);
  boost::system::error_code ec;
  const std::size_t read = parser.write_some(text, ec);
  if (ec) return invalid_json(read, ec.message());
  if (read < text.size()) return invalid_json(read, "something follows the value");
  parser.finish(ec);
  if (ec) return invalid_json(text.size(), "the text ends too early");
  json::value value = parser.release();
  if (!value.is_object()) {
    return Error{std::string(domain::error::kInvalidJson),
                 "The body must be a JSON object; it starts with another kind of value at byte 0.",
                 ""};
  }
  if (count_model_keys(text) > 1) {
    return Error{std::string(domain::error::kInvalidValue),
                 "The body names `model` twice; send it once.", "model"};
  }
  return std::move(value.as_object());
}

std::int64_t unix_seconds(WallTime time) {
  return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
}

json::value unix_seconds_or_null(WallTime time) {
  return time == WallTime{} ? json::value(nullptr) : json::value(unix_seconds(time));
}

void ListText::add(const json::object& one) {
  if (std::exchange(any_, true)) text_ += ',';
  text_ += json::serialize(one);
}

std::string ListText::end() { return std::move(text_) + "]}"; }

}  // namespace glowplug::gateway
