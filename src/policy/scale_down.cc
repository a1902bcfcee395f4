#include "policy/scale_down.h"

#include <algorithm>
#include <map>
#include <tuple>

namespace glowplug::policy {
namespace {

bool goes_before(const ScaleDownCandidate& a, const ScaleDownCandidate& b) {
  return std::tie(a.in_flight, a.prompts_worth, a.last_used, a.replica) <
         std::tie(b.in_flight, b.prompts_worth, b.last_used, b.replica);
}

}  // namespace

std::vector<domain::ProcessId> choose_to_retire(std::span<const ScaleDownCandidate> serving,
                                                int surplus) {
  std::vector<ScaleDownCandidate> order(serving.begin(), serving.end());
  std::sort(order.begin(), order.end(), goes_before);
  std::map<std::uint64_t, int> left;
  for (const ScaleDownCandidate& one : order)
    if (one.group) ++left[*one.group];
  std::vector<domain::ProcessId> chosen;
  for (const ScaleDownCandidate& one : order) {
    if (static_cast<int>(chosen.size()) >= surplus) break;
    if (one.group && left[*one.group]-- == 1) continue;
    chosen.push_back(one.replica);
  }
  return chosen;
}

std::optional<domain::ProcessId> choose_to_recall(std::span<const ScaleDownCandidate> retired) {
  const auto last = std::max_element(retired.begin(), retired.end(), goes_before);
  if (last == retired.end()) return std::nullopt;
  return last->replica;
}

}  // namespace glowplug::policy
