#include "app/webhook_settings.h"

#include <string>
#include <vector>

#include <boost/json/object.hpp>
#include <fmt/format.h>

namespace glowplug::app {
namespace {

namespace json = boost::json;

constexpr const char* kExample = "{allow: [hooks.internal, 10.1.0.0/16], allow_http: false}";
constexpr std::size_t kAllowedMax = 64;
constexpr std::size_t kAllowedBytesMax = 253;

}  // namespace

std::optional<models::TargetRule> read_webhooks(const json::value& value,
                                                models::ManifestFields::Faults& faults) {
  const std::size_t before = faults.size();
  if (!value.is_object()) {
    faults.push_back(
        fmt::format("webhooks: must be as {}, not {}", kExample, models::shown(value)));
    return std::nullopt;
  }
  models::ManifestFields fields(value.get_object(), "webhooks", faults);
  fields.refuse_unknown({"allow", "allow_http"});
  std::vector<std::string> allow;
  fields.read_texts("allow", allow, kAllowedMax, kAllowedBytesMax);
  bool http_allowed = false;
  if (const json::value* said = fields.find("allow_http")) {
    if (said->is_bool())
      http_allowed = said->get_bool();
    else
      fields.fault("allow_http",
                   fmt::format("must be true or false, not {}", models::shown(*said)));
  }
  if (faults.size() != before) return std::nullopt;
  Result<models::TargetRule> rule = models::TargetRule::read(allow, http_allowed);
  if (rule) return *std::move(rule);
  fields.fault("allow", rule.error().message);
  return std::nullopt;
}

}  // namespace glowplug::app
