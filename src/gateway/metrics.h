// Counters of the edge and gauges of the platform as text for scrapers.
//
// Series are labelled by names of existing functions only, so made-up model names add none; what
// has no function's name is labelled from closed lists.
//
// Thread: the server loop.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "control/cache_admin.h"
#include "control/platform.h"
#include "control/process_counts.h"
#include "gateway/call_counts.h"
#include "gateway/event_stream.h"
#include "gateway/memory_metrics.h"
#include "gateway/metrics_text.h"

namespace glowplug::queue {
class JobService;
}

namespace glowplug::gateway {

class Metrics final {
 public:
  explicit Metrics(const Clock& clock) : clock_(clock) {}

  // The callers below only pass names of functions that exist.
  void count_request(const std::string& function, int status);
  void count_tokens(const std::string& function, const Usage& usage);
  void observe_first_token(const std::string& function, Duration after);
  void observe_grant(const std::string& function, const control::Grant& grant);
  void observe_restore(domain::Tier tier, Duration took);  // of a cold call, 0 for none
  void count_retry() { ++retries_; }
  void count_stream_refused() { ++streams_refused_; }
  void count_connection_refused() { ++connections_refused_; }
  void count_request_refused(std::string_view code);  // of a request that is no call
  CallCounts& calls() { return calls_; }

  // Forgets what it has counted of functions that are not among these.
  std::string render(const std::vector<control::FunctionView>& functions, std::size_t connections,
                     MetricsFormat format, const std::optional<control::CacheCounters>& cache = {},
                     const MemoryOf& memory_of = {}, const control::ProcessCounts& processes = {},
                     const std::function<void(MetricsText&)>& more = {});

 private:
  static constexpr std::array<double, 14> kFirstTokenBounds{
      0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60};
  // From a fork to a fetch of many gigabytes.
  static constexpr std::array<double, 15> kStartBounds{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,
                                                       2.5,   5,    10,    30,   60,  180,  600};

  // The grants of the last minute, in steps; a step's slot is used again when it is out of date.
  class RecentGrants final {
   public:
    void count(Time now, bool cold);
    std::optional<double> cold_share(Time now) const;  // none when they are too few to say

   private:
    static constexpr Duration kStep = std::chrono::seconds(5);
    static constexpr std::int64_t kSteps = 12;
    static constexpr std::uint64_t kGrantsMin = 10;
    struct Slot {
      std::int64_t step = -kSteps;
      std::uint64_t grants = 0, cold = 0;
    };
    std::array<Slot, kSteps> slots_{};
  };
  struct Series {
    std::map<int, std::uint64_t> requests;  // by status
    Usage tokens;
    Histogram first_token{kFirstTokenBounds};
    std::map<domain::Tier, Histogram> cold_starts;
    RecentGrants recent;
  };
  void observe_phase(domain::Phase phase, domain::Tier tier, Duration took);
  Series* series_of(const std::string& function);
  void write_requests(MetricsText& text) const;
  void write_refused(MetricsText& text) const;
  void write_starts(MetricsText& text, const std::vector<control::FunctionView>& functions) const;

  const Clock& clock_;
  std::map<std::string, Series> series_;
  std::map<std::pair<domain::Phase, domain::Tier>, Histogram> start_phases_;
  std::uint64_t retries_ = 0;
  std::uint64_t streams_refused_ = 0;
  std::uint64_t connections_refused_ = 0;
  std::map<std::string_view, std::uint64_t> requests_refused_;  // by code
  CallCounts calls_;
};

}  // namespace glowplug::gateway
