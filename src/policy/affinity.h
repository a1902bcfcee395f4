// Which of the replicas that are free takes a call: the one whose slots hold most of its prompt, by
// steps of kSharedBytesMin; else the one with the least work.
//
// Thread: values and pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "domain/ids.h"
#include "domain/prompt_links.h"

namespace glowplug::policy {

// The prompts that a replica's slots hold, as far as it was seen: those that it was given last. One
// that goes on where another ended takes its place.
class HeldPrompts final {
 public:
  void note(const domain::PromptLinks& prompt, int slots);
  std::uint64_t shared_bytes(const domain::PromptLinks& prompt) const;

 private:
  std::vector<domain::PromptLinks> held_;  // the oldest first
};

// Some 128 tokens, which a CPU computes in about the time of a few steps.
inline constexpr std::uint64_t kSharedBytesMin = 512;

struct FreeReplica {
  domain::ProcessId replica;
  bool serves_caller = false;  // bound to the caller's cache domain; else bound to nobody
  bool retired = false;        // see scale_down.h
  int in_flight = 0;
  std::uint64_t shared_bytes = 0;  // of the call's prompt
};

// Those that serve the caller come before those that serve nobody yet, and retired ones last.
std::optional<domain::ProcessId> choose_replica(std::span<const FreeReplica> free);

}  // namespace glowplug::policy
