// Checks of single request fields, each with the param that is at fault in its error.
// Absent and null read the same. Thread: pure functions.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json/object.hpp>

#include "base/result.h"
#include "base/time_types.h"

namespace glowplug::gateway {

struct Range {
  double low = 0;
  double high = 0;
};

enum class JsonKind { Bool, String, Object, Array };

Error invalid(std::string_view param, const std::string& what);
Error unsupported(std::string_view param, const std::string& what);
Error missing(std::string_view param, const std::string& what);

const boost::json::value* field(const boost::json::object& object, std::string_view name);
bool flag(const boost::json::object& object, std::string_view name);
std::optional<long> integer(const boost::json::object& object, std::string_view name);

// A key of a body that takes no others; the error names them.
Result<void> check_known(std::string_view key, const std::vector<std::string_view>& known);
Result<void> check_number(const boost::json::object& object, std::string_view name, Range range);
Result<void> check_integer(const boost::json::object& object, std::string_view name, Range range);
Result<void> check_kind(const boost::json::object& object, std::string_view name, JsonKind kind);
Result<void> check_stop(const boost::json::object& object, std::string_view name);
Result<void> check_messages(const boost::json::object& object, std::string_view name,
                            std::initializer_list<std::string_view> roles);
Result<void> check_logit_bias(const boost::json::object& object);
Result<std::optional<Duration>> read_keep_alive(const boost::json::object& object);

// Bytes of all strings inside a value: the lower bound of what a tokenizer would have to read.
std::size_t text_bytes(const boost::json::value& value);

}  // namespace glowplug::gateway
