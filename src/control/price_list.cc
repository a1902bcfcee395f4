#include "control/price_list.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "base/units.h"
#include "control/device_pool.h"
#include "domain/errors.h"
#include "policy/budget.h"

namespace glowplug::control {
namespace {

constexpr std::string_view kPerHour = "scale.budget.per_hour";
constexpr std::string_view kOfAll = "budget_per_hour";

Error does_not_fit(std::string message, std::string_view field) {
  return {std::string(domain::error::kDoesNotFit), std::move(message), std::string(field)};
}

}  // namespace

PriceList::PriceList(domain::PriceTable prices, domain::Money budget_per_hour)
    : prices_(std::move(prices)), budget_per_hour_(budget_per_hour) {}

domain::Money PriceList::cost_of(const std::string& type, int count) const {
  return policy::cost_per_hour(prices_, type, count).value_or(domain::Money{});
}

domain::Money PriceList::cost_of(const policy::Placement& place) const {
  return cost_of(place.type, place.count);
}

const policy::Placement& PriceList::cheapest(const std::vector<policy::Placement>& places) const {
  return *std::min_element(places.begin(), places.end(), [this](const auto& a, const auto& b) {
    return cost_of(a) < cost_of(b);
  });
}

Result<std::vector<policy::Placement>> PriceList::payable_ever(
    const std::string& name, const domain::Budget& own,
    std::vector<policy::Placement> places) const {
  const domain::Money all = budget_per_hour_;
  if (own.per_hour.micros == 0 && all.micros == 0) return places;
  const bool is_own = own.per_hour.micros > 0 && (all.micros == 0 || own.per_hour <= all);
  const domain::Money most = is_own ? own.per_hour : all;
  const auto has_price = [this](const policy::Placement& place) {
    return policy::cost_per_hour(prices_, place.type, place.count).has_value();
  };
  if (std::none_of(places.begin(), places.end(), has_price))
    return Error{std::string(domain::error::kUnsupportedValue),
                 fmt::format("`{}` is to run on {}, which has no price, and {} is {}; add one to "
                             "the server's settings, as prices: {{{}: {{per_hour: 1, per_request: "
                             "0}}}}",
                             name, places.front().type, is_own ? kPerHour : kOfAll,
                             format_micros(most.micros), places.front().type),
                 std::string(is_own ? kPerHour : kOfAll)};
  std::erase_if(places, [&has_price](const auto& place) { return !has_price(place); });
  const policy::Placement dear = cheapest(places);
  std::erase_if(places, [this, most](const auto& place) { return cost_of(place) > most; });
  if (!places.empty()) return places;
  return does_not_fit(
      fmt::format("one replica of `{}` costs {} an hour on {}, and {} is {}; raise {}, or choose "
                  "a cheaper device (resources.device)",
                  name, format_micros(cost_of(dear).micros), in_words(dear),
                  is_own ? kPerHour : "the server's budget_per_hour", format_micros(most.micros),
                  is_own ? "it" : "that (serve --budget-per-hour)"),
      is_own ? kPerHour : kOfAll);
}

Result<void> may_ever_reserve(const std::string& name, const domain::Budget& own,
                              std::uint64_t bytes) {
  if (own.memory_bytes == 0 || bytes <= own.memory_bytes) return {};
  return does_not_fit(
      fmt::format("one replica of `{}` reserves {}, and scale.budget.memory is {}; raise it, or "
                  "lower context or slots",
                  name, format_bytes(bytes), format_bytes(own.memory_bytes)),
      "scale.budget.memory");
}

}  // namespace glowplug::control
