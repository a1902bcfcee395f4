#include "models/budget_fields.h"

#include <boost/json/value.hpp>
#include <fmt/format.h>

#include "base/units.h"
#include "domain/limits.h"
#include "models/manifest_reader.h"

namespace glowplug::models {
namespace {

namespace json = boost::json;

void read_memory(ManifestFields& fields, std::uint64_t& into) {
  const json::value* value = fields.find("memory");
  if (value == nullptr) return;
  if (const auto bytes = memory_of(*value))
    into = *bytes;
  else
    fields.fault("memory",
                 fmt::format("must be a size such as \"4GiB\", at least 1MiB, not {}; leave it out "
                             "for no bound",
                             shown(*value)));
}

void read_per_hour(ManifestFields& fields, domain::Money& into) {
  const json::value* value = fields.find("per_hour");
  if (value == nullptr) return;
  if (const auto money = budget_money(*value))
    into = *money;
  else
    fields.fault("per_hour", fmt::format("must be {}, not {}; leave it out for no bound",
                                         budget_money_in_words(), shown(*value)));
}

}  // namespace

std::optional<domain::Money> budget_money(const json::value& per_hour) {
  const std::optional<double> units = number_of(per_hour);
  if (!units || !(*units > 0 && *units <= domain::kBudgetMax)) return std::nullopt;
  const auto micros = micros_of(*units);
  return micros && *micros > 0 ? std::optional(domain::Money{*micros}) : std::nullopt;
}

std::string budget_money_in_words() {
  return fmt::format(
      "a number above 0 and up to {} with six decimals at most, as 2.5 (of the price table's "
      "units)",
      domain::kBudgetMax);
}

void read_budget(ManifestFields& fields, domain::Budget& budget) {
  const json::value* value = fields.find("budget");
  if (value == nullptr) return;
  if (!value->is_object())
    return fields.fault("budget", fmt::format("must be a mapping, as {{memory: 4GiB, per_hour: "
                                              "2.5}}, not {}",
                                              shown(*value)));
  ManifestFields inner(value->get_object(), fields.path_of("budget"), fields.faults());
  inner.refuse_unknown(manifest_keys().at("scale.budget"));
  read_memory(inner, budget.memory_bytes);
  read_per_hour(inner, budget.per_hour);
}

json::object budget_object(const domain::Budget& budget) {
  json::object object;
  if (budget.memory_bytes > 0) object["memory"] = budget.memory_bytes;
  // A JSON number is a double, which holds all six decimals up to kBudgetMax.
  if (budget.per_hour.micros > 0)
    object["per_hour"] = static_cast<double>(budget.per_hour.micros) / 1e6;
  return object;
}

}  // namespace glowplug::models
