#include "policy/evictor.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>
#include <unordered_map>

#include <fmt/format.h>

#include "base/units.h"

namespace glowplug::policy {
namespace {

constexpr double kHalfAfter = 64;  // visits of anybody

double halvings(const Visits& visits, std::uint64_t now) {
  return static_cast<double>(now - std::min(now, visits.at)) / kHalfAfter;
}

double log2_worth(const Kept& kept) {
  const double bytes = static_cast<double>(std::max<std::uint64_t>(1, kept.bytes));
  return kept.log2_likely + std::log2(to_seconds(kept.saves) / bytes);  // of 0: minus infinity
}

struct Rank {
  bool is_held = false;
  double worth = 0;
};

// A template is worth at least what each of those is that have to go before it.
std::unordered_map<std::uint64_t, Rank> ranks(std::span<const Kept> idle) {
  std::unordered_map<std::uint64_t, Rank> all;
  for (const Kept& one : idle) all[one.process.value] = {one.is_held, log2_worth(one)};
  const auto raise = [&all](const std::optional<domain::ProcessId>& origin, const Kept& by) {
    const auto found = origin ? all.find(origin->value) : all.end();
    if (found == all.end()) return;
    found->second.is_held |= by.is_held;
    found->second.worth = std::max(found->second.worth, log2_worth(by));
  };
  for (const Kept& one : idle) {
    raise(one.from, one);
    raise(one.base, one);
  }
  return all;
}

bool is_needed_by(const std::vector<Kept>& chosen, const Kept& one) {
  return std::any_of(chosen.begin(), chosen.end(), [&one](const Kept& other) {
    return other.process == one.from || other.process == one.base;
  });
}

}  // namespace

void note_visit(Visits& visits, std::uint64_t now) {
  visits.count = visits.count * std::exp2(-halvings(visits, now)) + 1;
  visits.at = now;
}

double log2_likely(const Visits& visits, std::uint64_t now) {
  if (visits.count <= 0) return -std::numeric_limits<double>::infinity();
  // The counts of all functions add up to this many visits.
  static const double all = 1 / (1 - std::exp2(-1 / kHalfAfter));
  return std::log2(visits.count / all) - halvings(visits, now);
}

std::vector<Kept> eviction_order(std::span<const Kept> idle) {
  const auto all = ranks(idle);
  const auto key = [&all](const Kept& kept) {
    const Rank& rank = all.at(kept.process.value);
    return std::tuple(rank.is_held, rank.worth, kept.layer, kept.last_used, kept.process);
  };
  std::vector<Kept> order(idle.begin(), idle.end());
  std::sort(order.begin(), order.end(),
            [&key](const Kept& a, const Kept& b) { return key(a) < key(b); });
  return order;
}

std::optional<std::vector<Kept>> choose_evictions(std::span<const Kept> idle,
                                                  std::uint64_t needed_bytes) {
  std::vector<Kept> chosen;
  std::uint64_t freed = 0;
  for (const Kept& one : eviction_order(idle)) {
    if (freed >= needed_bytes) break;
    freed += one.bytes;
    chosen.push_back(one);
  }
  if (freed < needed_bytes) return std::nullopt;
  for (std::size_t i = chosen.size(); i-- > 0;) {  // what the later ones made needless stays
    if (freed - chosen[i].bytes < needed_bytes || is_needed_by(chosen, chosen[i])) continue;
    freed -= chosen[i].bytes;
    chosen.erase(chosen.begin() + static_cast<std::ptrdiff_t>(i));
  }
  return chosen;
}

std::string worth_in_words(const Kept& kept) {
  const double percent = 100 * std::exp2(kept.log2_likely);
  return fmt::format(
      "it saves {} at a start, {} % likely to be next", format_duration(kept.saves),
      percent < 9.95 ? fmt::format("{:.2g}", percent) : fmt::format("{:.0f}", percent));
}

}  // namespace glowplug::policy
