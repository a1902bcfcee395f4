// A keep-alive that others use, to compare with: the hybrid histogram of "Serverless in the Wild"
// (ATC'20). Of each function's idle times, in bins of a minute up to four hours, the 5th percentile
// says when its replica is wanted again and the 99th until when it is kept.
//
//   usable             the replica goes at once, comes back at 0.9 × head and is kept until 1.1 ×
//   tail;
//                      where the head is zero it stays, until 1.1 × tail
//   says nothing       (few idle times, or alike in all bins): it is kept for four hours
//   mostly beyond it   comes back at 0.85 × the mean of the last ten, kept until 1.15 × that; the
//                      paper fits an ARIMA model to them
//
// Thread: the world's.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "simulate/observer.h"
#include "simulate/world.h"

namespace glowplug::simulate {

// Of one function, counted from the end of its last call.
struct IdlePlan {
  Duration keep{};                    // so long its replica stays
  std::optional<Duration> back = {};  // then one is started again
  Duration hold{};                    // and kept so long
  friend bool operator==(const IdlePlan&, const IdlePlan&) = default;
};

class IdleTimes final {
 public:
  static constexpr std::size_t kBins = 240;
  static constexpr Duration kBin = std::chrono::minutes(1);

  void note(Duration idle);
  IdlePlan plan() const;

 private:
  double variation() const;  // of the counts in the bins: deviation over mean
  Duration percentile(double share, Duration within) const;

  std::array<std::uint32_t, kBins> counts_{};
  std::uint64_t inside_ = 0, beyond_ = 0;
  std::deque<Duration> last_;
};

class HybridHistogram final : public Observer {
 public:
  explicit HybridHistogram(World& world) : world_(world) {}

  // For a call that comes now: how long its replica is kept afterwards.
  Duration keep_alive(std::uint32_t function);

  void call_ended(const CallResult& result) override;

 private:
  struct Function {
    IdleTimes times;
    int open = 0;
    std::optional<Time> idle_since;
    std::uint64_t turn = 0;  // of its idle periods
  };

  World& world_;
  std::map<std::uint32_t, Function> functions_;
};

}  // namespace glowplug::simulate
