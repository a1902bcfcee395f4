#include "policy/wait_forecast.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/units.h"

namespace glowplug::policy {
namespace {

constexpr int kRetryMax = 60;

// For so many answers on so many slots.
Duration time_for(double answers, int slots, Duration mean) {
  return Duration(std::llround(answers * static_cast<double>(mean.count()) / slots));
}

}  // namespace

void note_answer(ServiceTime& service, Duration took) {
  service.samples = std::min(service.samples + 1, kServiceSamples);
  service.mean += (std::max(took, Duration(0)) - service.mean) / service.samples;
}

std::optional<Duration> expected_wait(const WaitFacts& facts) {
  const int needed = facts.ahead + facts.weight - facts.slots_free;
  if (needed <= 0) return Duration(0);
  const ServiceTime& service = facts.service;
  const int slots_then = facts.slots + facts.slots_coming;
  if (service.samples < kServiceSamplesMin || slots_then == 0) return std::nullopt;
  const bool waits_for_a_start =
      facts.slots == 0 ||
      (facts.slots_coming > 0 && time_for(needed, facts.slots, service.mean) > facts.start_left);
  if (!waits_for_a_start) return time_for(needed, facts.slots, service.mean);
  const double mean_s = std::max(1e-9, to_seconds(service.mean));
  const double ended = facts.slots * to_seconds(facts.start_left) / mean_s;
  const double left = needed - ended - facts.slots_coming;
  return facts.start_left + time_for(std::max(0.0, left), slots_then, service.mean);
}

int retry_after_s(Duration expected, Duration allowed, std::uint64_t spread) {
  using std::chrono::seconds;
  const auto over = std::chrono::ceil<seconds>(std::max(Duration(0), expected - allowed));
  const auto least =
      static_cast<std::uint64_t>(std::clamp<std::int64_t>(over.count(), 1, kRetryMax));
  return static_cast<int>(std::min<std::uint64_t>(kRetryMax, least + spread % (least / 4 + 1)));
}

}  // namespace glowplug::policy
