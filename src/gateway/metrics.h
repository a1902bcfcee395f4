// Counters of the edge and gauges of the platform as text for scrapers.
//
// Series are labelled by names of existing functions only, so made-up model names add none.
//
// Thread: the server loop.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/time_types.h"
#include "control/views.h"
#include "gateway/event_stream.h"

namespace glowplug::gateway {

enum class MetricsFormat { PrometheusText, OpenMetrics };

class Metrics final {
 public:
  // The callers below only pass names of functions that exist.
  void count_request(const std::string& function, int status);
  void count_tokens(const std::string& function, const Usage& usage);
  void observe_first_token(const std::string& function, Duration after);
  void count_retry() { ++retries_; }
  void count_stream_refused() { ++streams_refused_; }

  std::string render(const std::vector<control::FunctionView>& functions, std::size_t connections,
                     MetricsFormat format) const;

 private:
  static constexpr std::array<double, 14> kBuckets{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                                   0.25,  0.5,    1,     2.5,  5,     10,   60};
  struct Series {
    std::map<int, std::uint64_t> requests;  // by status
    Usage tokens;
    std::array<std::uint64_t, kBuckets.size() + 1> first_token{};
    double first_token_sum = 0;
  };
  Series* series_of(const std::string& function);

  std::map<std::string, Series> series_;
  std::uint64_t retries_ = 0;
  std::uint64_t streams_refused_ = 0;
};

}  // namespace glowplug::gateway
