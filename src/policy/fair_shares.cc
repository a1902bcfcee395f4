#include "policy/fair_shares.h"

#include <algorithm>
#include <queue>
#include <string_view>
#include <tuple>

namespace glowplug::policy {
namespace {

constexpr std::size_t kTenantsMax = 1024;  // those that had least are forgotten
constexpr double kCallMin = 1e-3;          // so that calls of no known length take turns too

}  // namespace

double FairShares::had(const std::string& tenant) const {
  const auto found = had_.find(tenant);
  return found == had_.end() ? 0 : found->second;
}

void FairShares::set(const std::string& tenant, double slot_seconds) {
  had_[tenant] = slot_seconds;
  if (had_.size() <= kTenantsMax) return;
  had_.erase(std::min_element(had_.begin(), had_.end(),
                              [](const auto& a, const auto& b) { return a.second < b.second; }));
}

void FairShares::arrived(const std::string& tenant, std::span<const QueuedCall> waiting) {
  double least = waiting.empty() ? of_last_ : had(waiting.front().tenant);
  for (const QueuedCall& one : waiting) {
    if (one.tenant == tenant) return;  // it did not pause
    least = std::min(least, had(one.tenant));
  }
  if (least > had(tenant)) set(tenant, least);
}

void FairShares::granted(const std::string& tenant, double slot_seconds) {
  set(tenant, had(tenant) + slot_seconds);
  of_last_ = had(tenant);
}

void FairShares::ended(const std::string& tenant, double more_slot_seconds) {
  const double before = had(tenant);
  set(tenant, std::max(0.0, before + more_slot_seconds));
  if (of_last_ == before) of_last_ = had(tenant);
}

void FairShares::clear() {
  had_.clear();
  of_last_ = 0;
}

std::vector<std::size_t> FairShares::order(std::span<const QueuedCall> waiting) const {
  struct Turn {
    double& had;
    std::vector<std::size_t> calls;
    std::size_t next = 0;
  };
  // Who had less comes first, then who came first.
  const auto later = [](const Turn* a, const Turn* b) {
    return std::tuple(a->had, a->calls[a->next]) > std::tuple(b->had, b->calls[b->next]);
  };
  std::map<std::string_view, double> will_have;
  for (const QueuedCall& one : waiting) will_have.try_emplace(one.tenant, had(one.tenant));
  std::vector<std::size_t> order;
  for (const bool gives_way : {false, true}) {
    std::map<std::string_view, Turn> turns;
    for (std::size_t i = 0; i < waiting.size(); ++i)
      if (waiting[i].gives_way == gives_way)
        turns.try_emplace(waiting[i].tenant, Turn{will_have.at(waiting[i].tenant), {}})
            .first->second.calls.push_back(i);
    std::priority_queue<Turn*, std::vector<Turn*>, decltype(later)> queue(later);
    for (auto& [tenant, turn] : turns) queue.push(&turn);
    while (!queue.empty()) {
      Turn* turn = queue.top();
      queue.pop();
      const std::size_t call = turn->calls[turn->next++];
      order.push_back(call);
      turn->had += std::max(kCallMin, waiting[call].slot_seconds);
      if (turn->next < turn->calls.size()) queue.push(turn);
    }
  }
  return order;
}

}  // namespace glowplug::policy
