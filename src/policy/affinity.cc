#include "policy/affinity.h"

#include <algorithm>
#include <tuple>

namespace glowplug::policy {

void HeldPrompts::note(const domain::PromptLinks& prompt, int slots) {
  if (prompt.empty()) return;
  auto goes_on = held_.end();  // the longest that is its beginning
  for (auto one = held_.begin(); one != held_.end(); ++one)
    if (domain::shared_bytes(*one, prompt) == one->back().bytes &&
        (goes_on == held_.end() || one->back().bytes >= goes_on->back().bytes))
      goes_on = one;
  if (goes_on != held_.end())
    held_.erase(goes_on);
  else if (held_.size() >= static_cast<std::size_t>(std::max(1, slots)))
    held_.erase(held_.begin());
  held_.push_back(prompt);
}

std::uint64_t HeldPrompts::shared_bytes(const domain::PromptLinks& prompt) const {
  std::uint64_t most = 0;
  for (const domain::PromptLinks& one : held_)
    most = std::max(most, domain::shared_bytes(one, prompt));
  return most;
}

std::optional<domain::ProcessId> choose_replica(std::span<const FreeReplica> free) {
  // Steps, so that a few bytes more do not outweigh less work.
  const auto rank = [](const FreeReplica& one) {
    return std::tuple(!one.serves_caller, one.retired, ~(one.shared_bytes / kSharedBytesMin),
                      one.in_flight, one.replica);
  };
  const auto best = std::min_element(
      free.begin(), free.end(),
      [&rank](const FreeReplica& a, const FreeReplica& b) { return rank(a) < rank(b); });
  if (best == free.end()) return std::nullopt;
  return best->replica;
}

}  // namespace glowplug::policy
