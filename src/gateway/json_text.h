// Request bodies as JSON, under our limits: the position of a fault, a depth of 64, and no second
// `model`; and lists as text. Thread: pure functions, values.
#pragma once

#include <string>
#include <string_view>

#include <boost/json/object.hpp>

#include "base/result.h"

namespace glowplug::gateway {

Result<boost::json::object> parse_object(std::string_view text);

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
