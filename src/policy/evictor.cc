#include "policy/evictor.h"

#include <algorithm>

namespace glowplug::policy {
namespace {

bool used_earlier(const EvictionCandidate& a, const EvictionCandidate& b) {
  return a.last_used != b.last_used ? a.last_used < b.last_used : a.replica < b.replica;
}

}  // namespace

std::optional<std::vector<domain::ProcessId>> choose_evictions(
    std::span<const EvictionCandidate> candidates, std::uint64_t needed_bytes) {
  std::vector<EvictionCandidate> idle;
  for (const EvictionCandidate& candidate : candidates)
    if (candidate.in_flight == 0) idle.push_back(candidate);
  std::sort(idle.begin(), idle.end(), used_earlier);

  std::vector<domain::ProcessId> chosen;
  std::uint64_t freed = 0;
  for (const EvictionCandidate& candidate : idle) {
    if (freed >= needed_bytes) break;
    freed += candidate.memory_bytes;
    chosen.push_back(candidate.replica);
  }
  if (freed < needed_bytes) return std::nullopt;
  return chosen;
}

std::optional<domain::ProcessId> choose_to_drain(std::span<const EvictionCandidate> candidates) {
  const auto first = std::min_element(candidates.begin(), candidates.end(), used_earlier);
  if (first == candidates.end()) return std::nullopt;
  return first->replica;
}

}  // namespace glowplug::policy
