// Which beginning of recent prompts is worth computing ahead of the next one.
//
// Thread: pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace glowplug::policy {

inline constexpr std::size_t kSharersMin = 3;  // two prompts that begin alike may be one's retry

// Prompts that begin with these tokens.
struct SeenPrompts {
  std::span<const std::int32_t> tokens;
  std::size_t count = 1;
};
struct SharedBeginning {
  std::vector<std::int32_t> tokens;
  std::size_t prompts = 0;  // that begin with them
};

// The one that saves most: its tokens times the prompts that begin with it. Nothing where fewer
// than kSharersMin prompts share fewer than domain::kKeptTokensMin tokens. Looks at kPromptsMax of
// them at most.
inline constexpr std::size_t kPromptsMax = 256;
std::optional<SharedBeginning> shared_beginning(std::span<const SeenPrompts> prompts);

}  // namespace glowplug::policy
