#include "policy/shared_beginning.h"

#include <algorithm>

#include "domain/limits.h"

namespace glowplug::policy {
namespace {

using Prompt = std::span<const std::int32_t>;

std::size_t shared(Prompt a, Prompt b) {
  const auto end = a.begin() + static_cast<std::ptrdiff_t>(std::min(a.size(), b.size()));
  return static_cast<std::size_t>(std::mismatch(a.begin(), end, b.begin()).first - a.begin());
}

}  // namespace

// In order, prompts that begin alike are neighbours, and a run of them shares what the least of its
// neighbours share.
std::optional<SharedBeginning> shared_beginning(std::span<const SeenPrompts> prompts) {
  prompts = prompts.first(std::min(prompts.size(), kPromptsMax));
  std::vector<SeenPrompts> order(prompts.begin(), prompts.end());
  std::sort(order.begin(), order.end(), [](const SeenPrompts& a, const SeenPrompts& b) {
    return std::lexicographical_compare(a.tokens.begin(), a.tokens.end(), b.tokens.begin(),
                                        b.tokens.end());
  });
  std::vector<std::size_t> with_last;  // tokens
  for (std::size_t i = 0; i < order.size(); ++i)
    with_last.push_back(i == 0 ? 0 : shared(order[i - 1].tokens, order[i].tokens));

  std::size_t best_value = 0;
  Prompt best;
  std::size_t sharers = 0;
  for (std::size_t first = 0; first < order.size(); ++first) {
    std::size_t tokens = order[first].tokens.size();
    std::size_t count = 0;
    for (std::size_t last = first; last < order.size(); ++last) {
      if (last > first) tokens = std::min(tokens, with_last[last]);
      if (tokens < domain::kKeptTokensMin) break;
      count += order[last].count;
      if (count < kSharersMin || tokens * count <= best_value) continue;
      best_value = tokens * count;
      best = order[first].tokens.first(tokens);
      sharers = count;
    }
  }
  if (best_value == 0) return std::nullopt;
  return SharedBeginning{{best.begin(), best.end()}, sharers};
}

}  // namespace glowplug::policy
