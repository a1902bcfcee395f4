// What a function's past lets expect of its next hours, in two ways; each keeps score against a
// naive forecast, so that whoever asks can do without it where it is no better.
//
// IdleTimes: how long a rarely called function is without a call. The hybrid histogram of
// "Serverless in the Wild" (ATC'20, arXiv 2003.03423, section 4.2): 240 bins of a minute; loaded
// at 0.9 × the 5th percentile, rounded down to its bin, after the last call, kept until 1.1 × the
// 99th, rounded up. Where the bins say little (coefficient of variation under 2, or fewer than 10
// idle times) it is not unloaded; where most are longer than 4 h, around their recent mean,
// 0.85 × to 1.15 ×. The paper fits an ARIMA model there; here it is the mean of the last ten. What
// share "most" is, and the least count, are not published; they are those of its
// re-implementations. The naive forecast: the next is as long as the last, give or take 15 %.
//
// DayShape: how many slots a busy function has in use, by time of day. Additive Holt-Winters
// smoothing without a trend, of means over 5 minutes, with a season of 24 h of the clock that is
// passed in, so that no time zone moves it. It says nothing before a whole day was seen. The naive
// forecast: the next 5 minutes are as the last.
//
// Thread: values; whoever owns them. 0.6 KB and 1.2 KB.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "base/time_types.h"

namespace glowplug::policy {

class IdleTimes final {
 public:
  static constexpr int kBins = 240;  // of a minute

  enum class Basis { TooFew, Spread, Histogram, Long };
  // Both from the end of the last call. Zero to load after: it is not unloaded.
  struct Plan {
    Basis basis = Basis::TooFew;
    Duration load_after{};
    Duration keep_until = std::chrono::minutes(kBins);
    friend bool operator==(const Plan&, const Plan&) = default;
  };

  void note(Duration idle);  // ended by a call
  Plan plan() const;
  bool is_worse_than_naive() const;  // of the last 32 idle times that both foretold
  // Whether a replica loaded by that plan would on past idle times have idled less, all together,
  // than what the starts are worth that it saves, each as much as so long an idle time.
  bool is_worth(const Plan& plan, Duration start_worth) const;

 private:
  static constexpr std::size_t kRecent = 10;

  std::uint64_t in_bins() const;
  Duration edge(double share, int up) const;
  Duration recent_mean() const;
  void score(Duration idle);

  std::array<std::uint16_t, kBins> bins_{};
  std::uint32_t beyond_ = 0;
  std::array<std::uint32_t, kRecent> recent_s_{};
  std::size_t noted_ = 0;
  std::uint32_t hits_ = 0, naive_hits_ = 0;  // a bit each, the latest is the lowest
};

class DayShape final {
 public:
  static constexpr int kSteps = 288;
  static constexpr Duration kStep = std::chrono::minutes(5);

  static Time step_after(Time time);  // when the next one begins

  // `load` is in use from now on, until the next one; time that steps back is ignored.
  void observe(Time now, double load);
  // The most of any step from `now` to `ahead` later; none before a day was seen.
  std::optional<double> peak(Time now, Duration ahead) const;
  bool is_worse_than_naive() const;  // by mean error, of the last day above all; also with fewer
                                     // than ten steps foretold

 private:
  void close(std::int64_t step, double mean);
  float& season(std::int64_t step);
  double foretold(std::int64_t step) const;

  std::array<float, kSteps> season_{};
  double level_ = 0;
  int closed_ = 0;    // up to kSteps
  int foretold_ = 0;  // up to what counts
  double error_ = 0, naive_error_ = 0;
  double last_ = 0;
  std::optional<Time> latest_;
  Time begin_{};             // of what is in sum_
  double load_ = 0;          // since latest_
  double slot_seconds_ = 0;  // since begin_
};
static_assert(sizeof(IdleTimes) <= 640 && sizeof(DayShape) <= 1280);

}  // namespace glowplug::policy
