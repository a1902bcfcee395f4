#include "cli/json_fields.h"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include "cli/exit_code.h"

namespace glowplug::cli {

Result<boost::json::value> parse_json(std::string_view text) {
  boost::json::error_code error;
  boost::json::value value =
      boost::json::parse(boost::json::string_view(text.data(), text.size()), error);
  if (error)
    return Error{std::string(kBadReply), fmt::format("this is not JSON: {}", error.message()), ""};
  return value;
}

const boost::json::value* field(const boost::json::value& object, std::string_view name) {
  if (!object.is_object()) return nullptr;
  return object.get_object().if_contains(boost::json::string_view(name.data(), name.size()));
}

std::string text_field(const boost::json::value& object, std::string_view name) {
  const boost::json::value* found = field(object, name);
  if (found == nullptr || found->is_null()) return "";
  if (found->is_string())
    return std::string(found->get_string().c_str(), found->get_string().size());
  return boost::json::serialize(*found);
}

double number_field(const boost::json::value& object, std::string_view name) {
  const boost::json::value* found = field(object, name);
  if (found == nullptr) return 0;
  if (found->is_double()) return found->get_double();
  if (found->is_int64()) return static_cast<double>(found->get_int64());
  if (found->is_uint64()) return static_cast<double>(found->get_uint64());
  return 0;
}

boost::json::array data_of(const boost::json::value& reply) {
  if (reply.is_array()) return reply.get_array();
  const boost::json::value* data = field(reply, "data");
  return data != nullptr && data->is_array() ? data->get_array() : boost::json::array{};
}

}  // namespace glowplug::cli
