#include "worker/fake_schema.h"

#include <algorithm>
#include <string>
#include <string_view>

#include <boost/json.hpp>

namespace glowplug::worker {
namespace {

namespace json = boost::json;

constexpr int kDepthMax = 32;     // a schema that refers to itself ends here
constexpr int kItemsMax = 1'000;  // and one that wants a million items here

class Builder final {
 public:
  explicit Builder(const json::value& root) : root_(root) {}

  json::value build(const json::value& schema, int depth) const {
    if (!schema.is_object() || depth > kDepthMax) return nullptr;
    const json::object& rules = schema.get_object();
    if (const auto* value = rules.if_contains("const")) return *value;
    if (const auto* values = list(rules, "enum")) return values->front();
    if (const auto* reference = rules.if_contains("$ref"))
      return build(resolve(*reference), depth + 1);
    if (const auto* any = list(rules, "anyOf")) return build(any->front(), depth + 1);
    if (const auto* one = list(rules, "oneOf")) return build(one->front(), depth + 1);
    if (const auto* all = list(rules, "allOf")) return merge(*all, rules, depth);
    const std::string_view type = type_of(rules);
    if (type == "object") return object(rules, depth);
    if (type == "array") return array(rules, depth);
    if (type == "string") return json::string(bound(rules, "minLength"), 'a');
    if (type == "integer") return integer(rules);
    if (type == "number") return static_cast<double>(integer(rules));
    if (type == "boolean") return false;
    return nullptr;
  }

 private:
  static const json::array* list(const json::object& rules, const char* field) {
    const auto* value = rules.if_contains(field);
    return value && value->is_array() && !value->get_array().empty() ? &value->get_array()
                                                                     : nullptr;
  }

  static std::string_view type_of(const json::object& rules) {
    const auto* type = rules.if_contains("type");
    if (type && type->is_array() && !type->get_array().empty()) type = &type->get_array().front();
    if (type && type->is_string()) return type->get_string();
    if (rules.contains("properties")) return "object";
    if (rules.contains("items")) return "array";
    return "object";
  }

  static std::size_t bound(const json::object& rules, const char* field) {
    const auto* value = rules.if_contains(field);
    boost::system::error_code failure;
    const auto number = value ? value->to_number<int>(failure) : 0;
    return failure ? 0 : static_cast<std::size_t>(std::clamp(number, 0, kItemsMax));
  }

  static std::int64_t integer(const json::object& rules) {
    boost::system::error_code failure;
    if (const auto* low = rules.if_contains("minimum")) {
      const auto value = low->to_number<double>(failure);
      if (!failure && value > 0) return static_cast<std::int64_t>(value + 0.999999);
    }
    if (const auto* low = rules.if_contains("exclusiveMinimum")) {
      const auto value = low->to_number<double>(failure);
      if (!failure && value >= 0) return static_cast<std::int64_t>(value) + 1;
    }
    if (const auto* high = rules.if_contains("maximum")) {
      const auto value = high->to_number<double>(failure);
      if (!failure && value < 0) return static_cast<std::int64_t>(value - 0.999999);
    }
    return 0;
  }

  json::value object(const json::object& rules, int depth) const {
    json::object result;
    const auto* properties = rules.if_contains("properties");
    if (const auto* required = list(rules, "required")) {
      for (const json::value& name : *required) {
        if (!name.is_string()) continue;
        const json::value* schema = properties && properties->is_object()
                                        ? properties->get_object().if_contains(name.get_string())
                                        : nullptr;
        result[name.get_string()] = schema ? build(*schema, depth + 1) : json::value(nullptr);
      }
    }
    return result;
  }

  json::value array(const json::object& rules, int depth) const {
    json::array result;
    const std::size_t count = bound(rules, "minItems");
    const auto* items = rules.if_contains("items");
    for (std::size_t i = 0; i < count; ++i) {
      result.push_back(items ? build(*items, depth + 1) : json::value(nullptr));
    }
    return result;
  }

  json::value merge(const json::array& parts, const json::object& rules, int depth) const {
    json::object rest = rules;
    rest.erase("allOf");
    json::value result = build(parts.front(), depth + 1);
    if (!result.is_object()) return result;
    for (const json::value& part : parts) {
      const json::value more = build(part, depth + 1);
      if (!more.is_object()) continue;
      for (const auto& [name, value] : more.get_object()) result.get_object()[name] = value;
    }
    const json::value own = build(rest, depth + 1);
    if (own.is_object()) {
      for (const auto& [name, value] : own.get_object()) result.get_object()[name] = value;
    }
    return result;
  }

  json::value resolve(const json::value& reference) const {
    if (!reference.is_string()) return nullptr;
    std::string_view path = reference.get_string();
    if (!path.starts_with("#")) return nullptr;
    boost::system::error_code failure;
    const json::value* target = root_.find_pointer(path.substr(1), failure);
    return target ? *target : json::value(nullptr);
  }

  const json::value& root_;
};

}  // namespace

json::value minimal_instance(const json::value& schema) { return Builder(schema).build(schema, 0); }

}  // namespace glowplug::worker
