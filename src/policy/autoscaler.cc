#include "policy/autoscaler.h"

#include <algorithm>

#include <fmt/format.h>

#include "policy/concurrency_scaler.h"
#include "policy/predictive_scaler.h"
#include "policy/threshold_scaler.h"

namespace glowplug::policy {
namespace {

std::string why(const ScaleWish& wish) {
  const auto slots = [&wish](const char* what) {
    return fmt::format("{} {:.1f}, {:.1f} for a replica", what, wish.value, wish.limit);
  };
  switch (wish.rule) {
    case ScaleRule::Hold:
      return fmt::format("{:.0f} wait, nothing else asks for a change", wish.value);
    case ScaleRule::QueueLong:
      return fmt::format("{:.0f} wait, over {:.0f}", wish.value, wish.limit);
    case ScaleRule::QueueShort:
      return fmt::format("{:.0f} wait, under {:.0f}", wish.value, wish.limit);
    case ScaleRule::Slow:
      return fmt::format("first token after {:.0f} ms, over {:.0f} ms, mean of {}", wish.value,
                         wish.limit, wish.samples);
    case ScaleRule::ColdStarts:
      return fmt::format("{:.2f} of {} calls waited for a start, over {:.2f}", wish.value,
                         wish.samples, wish.limit);
    case ScaleRule::Stable: return slots("concurrency");
    case ScaleRule::Panic: return slots("panic: concurrency");
    case ScaleRule::Forecast: return slots("forecast: concurrency");
    case ScaleRule::Grace:
      return fmt::format("no calls, grace {:.0f} of {:.0f} s", std::min(wish.value, wish.limit),
                         wish.limit);
    case ScaleRule::Expected:
      return fmt::format("no call for {:.0f} s, the next is expected after {:.0f} s", wish.value,
                         wish.limit);
  }
  return {};
}

}  // namespace

std::string in_words(const ScaleWish& wish) {
  const char* bound = wish.wanted > wish.asked   ? ", the least that is held"
                      : wish.wanted < wish.asked ? ", the most that may be"
                                                 : "";
  if (*bound == '\0') return fmt::format("{}: {}", why(wish), wish.wanted);
  return fmt::format("{}: {} instead of {}{}", why(wish), wish.wanted, wish.asked, bound);
}

ScaleWish within_bounds(ScaleWish wish, const LoadFacts& facts) {
  wish.wanted = std::min(std::max({wish.asked, facts.least, 0}), facts.most);
  return wish;
}

std::unique_ptr<Autoscaler> make_autoscaler(domain::ScalePolicy policy) {
  switch (policy) {
    case domain::ScalePolicy::Threshold: return std::make_unique<ThresholdScaler>();
    case domain::ScalePolicy::Concurrency: return std::make_unique<ConcurrencyScaler>();
    case domain::ScalePolicy::Predictive: return std::make_unique<PredictiveScaler>();
  }
  return nullptr;
}

}  // namespace glowplug::policy
