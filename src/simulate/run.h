// Plays calls into a world, each at its time, and trouble between them.
//
// Thread: the world's.
#pragma once

#include <functional>
#include <optional>

#include "simulate/request.h"
#include "simulate/world.h"

namespace glowplug::simulate {

// What else happens at moments of its own.
class Interruption {
 public:
  virtual ~Interruption() = default;
  virtual std::optional<Time> next() const = 0;
  virtual void act() = 0;  // what is due
};

struct RunOptions {
  Interruption* interruption = nullptr;
  std::function<bool()> stop = nullptr;  // asked before each call
};

// A function that the world does not know is deployed when the source first tells of it. Ends
// after the last call came; those that are open go on with the world. Counts the calls.
Result<std::uint64_t> play(World& world, RequestSource& source, const RunOptions& options = {});

// Runs until `until`, with what interrupts.
void pass(World& world, Time until, Interruption* interruption = nullptr);

// Until no call is open, at the latest until `limit`.
void settle(World& world, Time limit, Interruption* interruption = nullptr);

}  // namespace glowplug::simulate
