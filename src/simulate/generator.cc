#include "simulate/generator.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include <fmt/format.h>

#include "domain/errors.h"
#include "domain/limits.h"
#include "simulate/seconds.h"
#include "simulate/timeline.h"

namespace glowplug::simulate {
namespace {

constexpr std::pair<TrafficKind, std::string_view> kKinds[] = {{TrafficKind::Poisson, "poisson"},
                                                               {TrafficKind::Bursts, "bursts"},
                                                               {TrafficKind::Diurnal, "diurnal"},
                                                               {TrafficKind::Periodic, "periodic"}};

std::vector<std::string> made_up_names(std::size_t count) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < count; ++i) names.push_back(fmt::format("fn-{}", i));
  return names;
}

// What all kinds share: names, tenants, lengths, where it ends.
class Maker final {
 public:
  explicit Maker(const Traffic& traffic)
      : traffic_(traffic), random_(traffic.seed), names_(made_up_names(traffic.functions)) {}

  std::optional<Request> make(Duration at, std::uint32_t function) {
    if (at >= traffic_.length) return std::nullopt;
    if (traffic_.requests_max > 0 && made_ == traffic_.requests_max) return std::nullopt;
    ++made_;
    return Request{.at = at,
                   .function = function,
                   .tenant = static_cast<std::uint32_t>(random_.below(traffic_.tenants)),
                   .prompt_tokens = draw(traffic_.prompt, random_),
                   .output_tokens = draw(traffic_.output, random_)};
  }
  Random& random() { return random_; }
  const Traffic& traffic() const { return traffic_; }
  const std::vector<std::string>& names() const { return names_; }

 private:
  Traffic traffic_;
  Random random_;
  std::vector<std::string> names_;
  std::uint64_t made_ = 0;
};

// Arrivals at the highest rate, thinned to the rate of the moment.
class RateSource final : public RequestSource {
 public:
  explicit RateSource(const Traffic& traffic)
      : maker_(traffic), zipf_(traffic.functions, traffic.zipf), rate_most_(highest(traffic)) {}

  Result<std::optional<Request>> next() override {
    Random& random = maker_.random();
    do {
      at_ += from_seconds(random.exponential(1 / rate_most_));
      if (at_ >= maker_.traffic().length) return std::optional<Request>{};
    } while (random.unit() * rate_most_ >= rate_at(at_));
    const auto function = static_cast<std::uint32_t>(zipf_.pick(random));
    return maker_.make(at_, function);
  }
  const std::vector<std::string>& functions() const override { return maker_.names(); }
  bool knows_all() const override { return true; }

 private:
  // Of the time, a share is bursts; together they make the mean rate.
  static double burst_share(const Traffic& traffic) {
    return to_seconds(traffic.burst_length) /
           (to_seconds(traffic.burst_length) + to_seconds(traffic.burst_every));
  }
  static double base_rate(const Traffic& traffic) {
    const double share = burst_share(traffic);
    return traffic.requests_per_s / (1 - share + share * traffic.burst_factor);
  }
  static double highest(const Traffic& traffic) {
    switch (traffic.kind) {
      case TrafficKind::Bursts: return base_rate(traffic) * std::max(1.0, traffic.burst_factor);
      case TrafficKind::Diurnal: return traffic.requests_per_s * 2 / (1 + traffic.low);
      default: return traffic.requests_per_s;
    }
  }

  double rate_at(Duration at) {
    const Traffic& traffic = maker_.traffic();
    if (traffic.kind == TrafficKind::Bursts) {
      while (at >= change_at_) {
        in_burst_ = !in_burst_;
        change_at_ += from_seconds(maker_.random().exponential(
            to_seconds(in_burst_ ? traffic.burst_length : traffic.burst_every)));
      }
      return base_rate(traffic) * (in_burst_ ? traffic.burst_factor : 1);
    }
    if (traffic.kind == TrafficKind::Diurnal) {
      const double turn = 2 * std::numbers::pi * to_seconds(at) / to_seconds(traffic.day);
      return rate_most_ * (traffic.low + (1 - traffic.low) * (1 - std::cos(turn)) / 2);
    }
    return rate_most_;
  }

  Maker maker_;
  Zipf zipf_;
  double rate_most_;
  Duration at_{};
  bool in_burst_ = true;  // changes at once
  Duration change_at_{};
};

class PeriodicSource final : public RequestSource {
 public:
  explicit PeriodicSource(const Traffic& traffic) : maker_(traffic) {
    for (std::uint32_t i = 0; i < traffic.functions; ++i) {
      periods_.push_back(to_seconds(traffic.period) * (1 + maker_.random().unit()));
      due_.put(Time(from_seconds(periods_.back() * maker_.random().unit())), i);
    }
  }

  Result<std::optional<Request>> next() override {
    const Duration at = due_.next()->time_since_epoch();
    const std::uint32_t function = due_.take();
    const double period = periods_[function];
    const double shaken = period * (1 + maker_.traffic().period_jitter * maker_.random().normal());
    due_.put(Time(at + from_seconds(std::max(period / 100, shaken))), function);
    return maker_.make(at, function);
  }
  const std::vector<std::string>& functions() const override { return maker_.names(); }
  bool knows_all() const override { return true; }

 private:
  Maker maker_;
  std::vector<double> periods_;  // seconds
  Timeline<std::uint32_t> due_;
};

Error out_of_range(std::string_view field, const std::string& what) {
  return {std::string(domain::error::kInvalidValue), fmt::format("{} {}", field, what),
          std::string(field)};
}

std::string number_fault(double value, double low, double high) {
  if (value >= low && value <= high) return "";
  return fmt::format("must lie between {} and {}, not {}", low, high, value);
}

}  // namespace

std::optional<TrafficKind> traffic_kind_named(std::string_view name) {
  for (const auto& [kind, word] : kKinds)
    if (word == name) return kind;
  return std::nullopt;
}

std::string_view to_string(TrafficKind kind) {
  for (const auto& [one, word] : kKinds)
    if (one == kind) return word;
  return "";
}

int draw(const TokenLengths& lengths, Random& random) {
  const double drawn =
      lengths.sigma > 0 ? random.lognormal(lengths.median, lengths.sigma) : lengths.median;
  return static_cast<int>(std::clamp(drawn, 1.0, static_cast<double>(lengths.most)));
}

Result<std::unique_ptr<RequestSource>> make_generator(const Traffic& traffic) {
  const double most = to_seconds(kTraceMax);
  const struct {
    std::string_view field;
    double value, low, high;
  } numbers[] = {
      {"functions", static_cast<double>(traffic.functions), 1,
       static_cast<double>(domain::kFunctionsMax)},
      {"zipf", traffic.zipf, 0, 10},
      {"tenants", static_cast<double>(traffic.tenants), 1, 1e6},
      {"rate", traffic.requests_per_s, 1e-9, 1e7},
      {"length", to_seconds(traffic.length), 0.001, most},
      {"burst-every", to_seconds(traffic.burst_every), 0.001, most},
      {"burst-length", to_seconds(traffic.burst_length), 0.001, most},
      {"burst-factor", traffic.burst_factor, 1, 1e6},
      {"day", to_seconds(traffic.day), 1, most},
      {"low", traffic.low, 0, 1},
      {"period", to_seconds(traffic.period), 0.001, most},
      {"period-jitter", traffic.period_jitter, 0, 1},
  };
  for (const auto& [field, value, low, high] : numbers)
    if (const std::string fault = number_fault(value, low, high); !fault.empty())
      return out_of_range(field, fault);
  for (const auto& [field, lengths] :
       {std::pair<std::string_view, const TokenLengths&>("prompt-tokens", traffic.prompt),
        {"output-tokens", traffic.output}}) {
    std::string fault = number_fault(lengths.median, 1, kTokensMax);
    if (fault.empty() && (lengths.most < 1 || lengths.most > kTokensMax))
      fault = fmt::format("may be 1 to {} at most", kTokensMax);
    if (!fault.empty()) return out_of_range(field, fault);
  }
  if (traffic.kind == TrafficKind::Periodic)
    return std::unique_ptr<RequestSource>(std::make_unique<PeriodicSource>(traffic));
  return std::unique_ptr<RequestSource>(std::make_unique<RateSource>(traffic));
}

}  // namespace glowplug::simulate
