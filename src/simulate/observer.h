// Who watches a simulated world: checkers, totals, the decision log. Each hears of every turn of
// the brain and of every call's end, in order; none of them changes anything.
//
// Thread: the world's.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/time_types.h"
#include "control/brain.h"
#include "domain/device.h"
#include "domain/tier.h"

namespace glowplug::simulate {

// What processes hold of one device; each of several holds an equal part.
struct HeldOnDevice {
  std::uint64_t bytes = 0;
  std::uint64_t outgrown = 0;  // of them, as Turn::outgrown_bytes
};

// One event that the brain has handled, and what it wants done; none of it is done yet.
struct Turn {
  const control::Event& event;
  const control::Effects& effects;
  Time now{};
  WallTime wall{};
  const control::Brain& brain;
  std::uint64_t reserved_bytes = 0;            // by the brain
  std::uint64_t held_bytes = 0;                // by the processes
  std::uint64_t outgrown_bytes = 0;            // of them, by a fault or beyond what can be foreseen
  std::span<const HeldOnDevice> devices = {};  // by domain::DeviceId
};

enum class CallOutcome { Answered, Broken, TimedOut, Left, Refused };

constexpr std::string_view to_string(CallOutcome outcome) {
  switch (outcome) {
    case CallOutcome::Answered: return "answered";
    case CallOutcome::Broken: return "broken";
    case CallOutcome::TimedOut: return "timed out";
    case CallOutcome::Left: return "left";
    case CallOutcome::Refused: return "refused";
  }
  return "";
}

struct CallResult {
  domain::CallId call;  // its first number: one that is tried again gets another
  std::uint32_t function = 0;
  int prompt_tokens = 0, output_tokens = 0;
  std::optional<domain::DeviceId> device;  // the first one that answered it; none = the CPU
  bool clamped = false;                    // to the function's context
  Time arrived{}, ended{};
  std::optional<Time> granted, first_token;
  CallOutcome outcome = CallOutcome::Answered;
  std::string error;  // code of a refusal, or why a request is to blame for what it broke
  bool cold = false;
  domain::Tier tier = domain::Tier::Replica;
  Duration start_wait{};  // for a start: all phases but the queue
};

class Observer {
 public:
  virtual ~Observer() = default;
  virtual void turned(const Turn&) {}
  virtual void call_ended(const CallResult&) {}
};

}  // namespace glowplug::simulate
