// Reading fields out of JSON that a server sent: absent, null or of another type comes back as the
// empty value, because a newer or older server must not break a status table.
//
// Thread: pure functions.
#pragma once

#include <string>
#include <string_view>

#include <boost/json/value.hpp>

#include "base/result.h"

namespace glowplug::cli {

Result<boost::json::value> parse_json(std::string_view text);

const boost::json::value* field(const boost::json::value& object, std::string_view name);
std::string text_field(const boost::json::value& object, std::string_view name);
double number_field(const boost::json::value& object, std::string_view name);

// The list in `{"data": [...]}`; empty when there is none.
boost::json::array data_of(const boost::json::value& reply);

}  // namespace glowplug::cli
