#include "policy/fair_shares.h"

#include <algorithm>
#include <deque>

namespace glowplug::policy {
namespace {

constexpr std::size_t kTenantsMax = 1024;  // those that had least are forgotten: they owe nothing
constexpr double kCallMin = 1e-3;          // so that calls of no known length take turns too

}  // namespace

double FairShares::had(const std::string& tenant) const {
  const auto found = had_.find(tenant);
  return found == had_.end() ? 0 : found->second;
}

void FairShares::arrived(const std::string& tenant, std::span<const QueuedCall> waiting) {
  double least = 0;
  bool first = true;
  for (const QueuedCall& one : waiting) {
    if (one.tenant == tenant) return;  // it did not pause
    const double its = had(one.tenant);
    least = first ? its : std::min(least, its);
    first = false;
  }
  if (!first && least > had(tenant)) had_[tenant] = least;
}

void FairShares::charge(const std::string& tenant, double slot_seconds) {
  had_[tenant] = std::max(0.0, had(tenant) + slot_seconds);
  if (had_.size() <= kTenantsMax) return;
  had_.erase(std::min_element(had_.begin(), had_.end(),
                              [](const auto& a, const auto& b) { return a.second < b.second; }));
}

std::vector<std::size_t> FairShares::order(std::span<const QueuedCall> waiting) const {
  struct Turn {
    double had = 0;
    std::deque<std::size_t> calls;
  };
  std::map<std::string, Turn> turns;
  for (std::size_t i = 0; i < waiting.size(); ++i) {
    Turn& turn = turns[waiting[i].tenant];
    if (turn.calls.empty()) turn.had = had(waiting[i].tenant);
    turn.calls.push_back(i);
  }
  std::vector<std::size_t> order;
  while (!turns.empty()) {
    const auto next =
        std::min_element(turns.begin(), turns.end(), [](const auto& a, const auto& b) {
          if (a.second.had != b.second.had) return a.second.had < b.second.had;
          return a.second.calls.front() < b.second.calls.front();  // who came first
        });
    Turn& turn = next->second;
    order.push_back(turn.calls.front());
    turn.had += std::max(kCallMin, waiting[turn.calls.front()].slot_seconds);
    turn.calls.pop_front();
    if (turn.calls.empty()) turns.erase(next);
  }
  return order;
}

}  // namespace glowplug::policy
