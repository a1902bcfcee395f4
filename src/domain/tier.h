// From where a start comes, slowest first: what was there before it, and so what it had to do.
//
//   Remote    the model had to be fetched: fetch, load, and fork where a template serves
//   Disk      the model's file was there: read and load, and fork where a template serves
//   Memory    the page cache held the file (95 % of it or more, measured): load, and fork
//   Asleep    a replica was there whose engine had given its device memory back: woken
//   Template  a process held the model: fork only
//   Spare     a replica that belonged to no function was there: handed over
//   Replica   a replica was there: no start at all
//
// Thread: pure values.
#pragma once

#include <array>
#include <optional>
#include <string_view>

namespace glowplug::domain {

enum class Tier { Remote, Disk, Memory, Asleep, Template, Spare, Replica };

inline constexpr std::array<std::string_view, 7> kTierNames{"remote",   "disk",  "memory", "asleep",
                                                            "template", "spare", "replica"};

constexpr std::string_view to_string(Tier tier) {
  return kTierNames[static_cast<std::size_t>(tier)];
}

constexpr std::optional<Tier> tier_named(std::string_view name) {
  for (std::size_t i = 0; i < kTierNames.size(); ++i)
    if (kTierNames[i] == name) return static_cast<Tier>(i);
  return std::nullopt;
}

}  // namespace glowplug::domain
