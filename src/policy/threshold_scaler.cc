#include "policy/threshold_scaler.h"

#include <chrono>

namespace glowplug::policy {
namespace {

using namespace std::chrono_literals;

constexpr int kQueueLong = 50;
constexpr int kQueueShort = 5;
constexpr Duration kSlow = 200ms;
constexpr std::uint64_t kColdTenths = 3;  // of the calls
constexpr std::uint64_t kSamplesMin = 10;
constexpr int kUp = 2, kDown = 1;

// In whole numbers, so that a mean of 200 ms and a share of 0.3 are just not over.
bool is_slow(const WindowSums& sums) {
  const auto count = static_cast<Duration::rep>(sums.first_tokens);
  return sums.first_tokens >= kSamplesMin && sums.first_token_sum > kSlow * count;
}
bool starts_cold(const WindowSums& sums) {
  return sums.requests >= kSamplesMin && sums.cold * 10 > sums.requests * kColdTenths;
}

}  // namespace

ScaleWish ThresholdScaler::decide(const LoadFacts& facts, Time) {
  const WindowSums& sums = facts.stable;
  ScaleWish wish{.asked = facts.live, .value = static_cast<double>(facts.queue)};
  if (facts.queue > kQueueLong) {
    wish.rule = ScaleRule::QueueLong;
    wish.limit = kQueueLong;
  } else if (is_slow(sums)) {
    wish.rule = ScaleRule::Slow;
    wish.value = to_ms(sums.first_token_sum) / static_cast<double>(sums.first_tokens);
    wish.limit = to_ms(kSlow);
    wish.samples = sums.first_tokens;
  } else if (starts_cold(sums)) {
    wish.rule = ScaleRule::ColdStarts;
    wish.value = static_cast<double>(sums.cold) / static_cast<double>(sums.requests);
    wish.limit = kColdTenths / 10.0;
    wish.samples = sums.requests;
  } else if (facts.queue < kQueueShort && facts.live > facts.least) {
    wish.rule = ScaleRule::QueueShort;
    wish.limit = kQueueShort;
    wish.asked -= kDown;
  }
  if (wish.rule != ScaleRule::Hold && wish.rule != ScaleRule::QueueShort) wish.asked += kUp;
  return within_bounds(wish, facts);
}

}  // namespace glowplug::policy
