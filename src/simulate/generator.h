// Calls made up from a seed: when they come, to which function, how long prompt and answer are.
//
//   poisson   at one rate
//   bursts    Poisson at a low rate, and at burst_factor times it for burst_length, about every
//             burst_every
//   diurnal   Poisson whose rate goes up and down with the day, between low × peak and peak
//   periodic  each function at a period of its own between period and twice that, as timers and
//             scripts call
//
// All but periodic spread their calls over the functions by Zipf's law.
//
// Thread: one owner.
#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include "simulate/random.h"
#include "simulate/request.h"

namespace glowplug::simulate {

enum class TrafficKind { Poisson, Bursts, Diurnal, Periodic };

std::optional<TrafficKind> traffic_kind_named(std::string_view name);
std::string_view to_string(TrafficKind kind);

struct TokenLengths {
  double median = 1, sigma = 0;  // of a lognormal
  int most = 4096;
};

struct Traffic {
  TrafficKind kind = TrafficKind::Poisson;
  std::uint64_t seed = 1;
  std::size_t functions = 10;  // 1 … domain::kFunctionsMax
  double zipf = 1;             // exponent; 0 = all alike
  std::size_t tenants = 1;     // callers whose prompt state is kept apart
  double requests_per_s = 1;   // on average
  Duration length = std::chrono::hours(1);
  std::uint64_t requests_max = 0;  // 0 = as many as come in `length`
  TokenLengths prompt = {.median = 200, .sigma = 1.0, .most = 1500};
  TokenLengths output = {.median = 60, .sigma = 0.9, .most = 500};
  Duration burst_every = std::chrono::seconds(120);
  Duration burst_length = std::chrono::seconds(5);
  double burst_factor = 20;
  Duration day = std::chrono::hours(24);
  double low = 0.1;
  Duration period = std::chrono::minutes(5);
  double period_jitter = 0.02;  // deviation, as a share of the period
};

// The error names the field that is out of range.
Result<std::unique_ptr<RequestSource>> make_generator(const Traffic& traffic);

// Lengths drawn from it, at least 1.
int draw(const TokenLengths& lengths, Random& random);

}  // namespace glowplug::simulate
