#include "models/budget_fields.h"

#include <string_view>

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

void read_money(ManifestFields& fields, std::string_view key, domain::Money& into) {
  const json::value* value = fields.find(key);
  if (value == nullptr) return;
  if (const auto money = budget_money(*value))
    into = *money;
  else
    fields.fault(key, fmt::format("must be {}, not {}; leave it out for no bound",
                                  budget_money_in_words(), shown(*value)));
}

// A JSON number is a double, which holds all six decimals up to kBudgetMax.
void write_money(json::object& object, std::string_view key, domain::Money money) {
  if (money.micros > 0) object[key] = static_cast<double>(money.micros) / 1e6;
}

}  // namespace

std::optional<domain::Money> budget_money(const json::value& units) {
  const std::optional<double> number = number_of(units);
  if (!number || !(*number > 0 && *number <= domain::kBudgetMax)) return std::nullopt;
  const auto micros = micros_of(*number);
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
  read_money(inner, "per_hour", budget.per_hour);
  read_money(inner, "per_day", budget.per_day);
}

json::object budget_object(const domain::Budget& budget) {
  json::object object;
  if (budget.memory_bytes > 0) object["memory"] = budget.memory_bytes;
  write_money(object, "per_hour", budget.per_hour);
  write_money(object, "per_day", budget.per_day);
  return object;
}

}  // namespace glowplug::models
