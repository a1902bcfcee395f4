// `scale.budget:` of a manifest, read and written, and amounts of money as settings have them:
//
//   scale: {budget: {memory: 4GiB, per_hour: 2.5, per_day: 10}}
//
// Thread: pure functions.
#pragma once

#include <optional>

#include <boost/json/object.hpp>

#include "domain/manifest.h"
#include "models/manifest_fields.h"

namespace glowplug::models {

// `scale` is the object that `fields` reads.
void read_budget(ManifestFields& fields, domain::Budget& budget);
boost::json::object budget_object(const domain::Budget& budget);

// More than nothing, an hour or a day, in whole micro-units; nothing where it is no such amount.
std::optional<domain::Money> budget_money(const boost::json::value& units);
// What such an amount must be, for messages.
std::string budget_money_in_words();

}  // namespace glowplug::models
