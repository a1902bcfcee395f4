// The clock seam: live code reads SystemClock, tests and the simulator advance a ManualClock.
//
// Thread: now() may be called from any thread for SystemClock; ManualClock belongs to one thread.
#pragma once

#include "base/time_types.h"

namespace glowplug {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual Time now() const = 0;
  virtual WallTime wall_now() const = 0;
};

class SystemClock final : public Clock {
 public:
  Time now() const override { return std::chrono::steady_clock::now(); }
  WallTime wall_now() const override {
    return std::chrono::time_point_cast<std::chrono::milliseconds>(
        std::chrono::system_clock::now());
  }
};

class ManualClock final : public Clock {
 public:
  Time now() const override { return now_; }
  WallTime wall_now() const override {
    return WallTime(std::chrono::duration_cast<std::chrono::milliseconds>(now_.time_since_epoch()));
  }
  void advance(Duration by) { now_ += by; }

 private:
  Time now_{};
};

}  // namespace glowplug
