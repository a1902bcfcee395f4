// The time of the queue: delays, deadlines and how long things are kept are told in it.
//
// While the server runs it goes with CLOCK_BOOTTIME, so a wall clock that is set changes nothing.
// It goes on over restarts: by the same clock where the machine is still up, else by how far the
// wall clock has moved, which may be wrong and is therefore bounded, and never counts backwards.
//
//   queue time = that of the anchor + boottime now − boottime of the anchor
//
// Thread: the server loop; save() gives a value that the writer's thread may keep.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/result.h"
#include "base/time_types.h"
#include "storage/sqlite.h"

namespace glowplug::queue {

// For so long at most a machine was off, as far as the queue goes.
inline constexpr Duration kOffMax = std::chrono::hours(7 * 24);

struct ClockReading {
  std::string boot_id;  // of this run of the machine
  std::chrono::milliseconds boottime{};
  WallTime wall{};
};
using ReadClock = std::function<ClockReading()>;

class QueueClock final {
 public:
  // Goes on where the file's anchor says, and writes a new one. Each opening has an epoch of its
  // own; a new file begins with `first_epoch`.
  static Result<QueueClock> open(storage::Database& database, ReadClock read,
                                 std::uint64_t first_epoch);

  Time now() const;
  WallTime wall_now() const { return read_().wall; }
  std::uint64_t epoch() const { return epoch_; }

  // The anchor as it is now, to be written every minute.
  std::function<Result<void>(storage::Database&)> save() const;

 private:
  QueueClock(ReadClock read, ClockReading anchor, Time at, std::uint64_t epoch);

  ReadClock read_;
  ClockReading anchor_;
  Time anchor_at_;  // of the queue
  std::uint64_t epoch_;
};

}  // namespace glowplug::queue
