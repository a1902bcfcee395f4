#include "policy/prompt_value.h"

#include <algorithm>
#include <chrono>

namespace glowplug::policy {
namespace {

using namespace std::chrono_literals;

// About what SmolLM2-135M needs for a token of a prompt on two cores.
constexpr Duration kPrefillOfToken = 5ms;

double seconds_saved(const PromptWorth& worth) {
  if (worth.recompute > Duration(0)) return to_seconds(worth.recompute);
  return to_seconds(kPrefillOfToken) * static_cast<double>(worth.tokens);
}

std::vector<PromptWorth> least_valuable_first(std::span<const PromptWorth> kept) {
  std::vector<PromptWorth> order(kept.begin(), kept.end());
  std::sort(order.begin(), order.end(), [](const PromptWorth& a, const PromptWorth& b) {
    const double left = prompt_value(a), right = prompt_value(b);
    return left != right ? left < right : a.id < b.id;
  });
  return order;
}

}  // namespace

double prompt_value(const PromptWorth& worth) {
  const double uses = 1 + static_cast<double>(worth.uses);
  const double bytes = static_cast<double>(std::max<std::uint64_t>(1, worth.bytes));
  const double age = 1 + to_seconds(std::max(Duration(0), worth.idle));
  return seconds_saved(worth) * uses / bytes / age;
}

std::optional<std::vector<std::uint64_t>> prompts_to_evict(std::span<const PromptWorth> kept,
                                                           std::uint64_t needed_bytes) {
  std::vector<std::uint64_t> chosen;
  std::uint64_t freed = 0;
  for (const PromptWorth& worth : least_valuable_first(kept)) {
    if (freed >= needed_bytes) break;
    freed += worth.bytes;
    chosen.push_back(worth.id);
  }
  if (freed < needed_bytes) return std::nullopt;
  return chosen;
}

std::vector<std::uint64_t> least_valuable_prompts(std::span<const PromptWorth> kept,
                                                  std::size_t count) {
  std::vector<std::uint64_t> chosen;
  for (const PromptWorth& worth : least_valuable_first(kept)) {
    if (chosen.size() >= count) break;
    chosen.push_back(worth.id);
  }
  return chosen;
}

}  // namespace glowplug::policy
