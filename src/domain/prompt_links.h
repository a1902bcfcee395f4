// How a prompt begins, without its text: hashes of its beginnings, so that it can be seen how far
// two prompts are the same. A link stands where a message ends, or after each kilobyte of a plain
// text.
//
// Thread: values.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace glowplug::domain {

struct PromptLink {
  std::uint64_t hash = 0;   // of all up to here; comparable within one server's life
  std::uint64_t bytes = 0;  // up to here
  friend bool operator==(const PromptLink&, const PromptLink&) = default;
};
using PromptLinks = std::vector<PromptLink>;  // the shortest first

inline constexpr std::size_t kPromptLinksMax = 64;  // of one prompt: the first ones

// The bytes that both begin with, as far as links tell.
inline std::uint64_t shared_bytes(const PromptLinks& a, const PromptLinks& b) {
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()) && a[i] == b[i]; ++i) bytes = a[i].bytes;
  return bytes;
}

}  // namespace glowplug::domain
