// Request bodies as JSON, under our limits: the position of a fault, a depth of 64, and no second
// `model`; lists as text, and moments as OpenAI has them. Thread: pure functions, values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include "base/result.h"
#include "base/time_types.h"

namespace glowplug::gateway {

Result<boost::json::object> parse_object(std::string_view text);

std::int64_t unix_seconds(WallTime time);
boost::json::value unix_seconds_or_null(WallTime time);  // null: the epoch, which is no moment

// The text of an answer that lists objects, of which there is never more than one at once.
class ListText final {
 public:
  void add(const boost::json::object& one);
  std::string end();

 private:
  std::string text_ = R"({"object":"list","data":[)";
  bool any_ = false;
};

}  // namespace glowplug::gateway
