// The text that scrapers read, in the two formats they ask for, and a histogram that writes itself.
//
// Thread: whoever owns the object.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/time_types.h"
#include "fmt/format.h"

namespace glowplug::gateway {

enum class MetricsFormat { PrometheusText, OpenMetrics };

class MetricsText final {
 public:
  explicit MetricsText(MetricsFormat format) : format_(format) {}

  // All samples of a family follow it. A counter's family is named without _total in OpenMetrics
  // and with it in the older text format, which knows no units.
  void family(std::string_view name, std::string_view type, std::string_view help);
  template <typename Value>
  void sample(std::string_view name, const std::string& labels, Value value) {
    fmt::format_to(std::back_inserter(text_), "{}{} {}\n", name,
                   labels.empty() ? "" : "{" + labels + "}", value);
  }
  // A family of one sample without labels.
  template <typename Value>
  void gauge(std::string_view name, std::string_view help, Value value) {
    family(name, "gauge", help);
    sample(name, "", value);
  }
  template <typename Value>
  void counter(std::string_view name, std::string_view help, Value value) {
    family(name, "counter", help);
    sample(fmt::format("{}_total", name), "", value);
  }
  std::string take();

 private:
  MetricsFormat format_;
  std::string text_;
};

// How many observations took how long. The bounds, in seconds and rising, outlive it.
class Histogram final {
 public:
  explicit Histogram(std::span<const double> bounds)
      : bounds_(bounds), counts_(bounds.size() + 1) {}

  void observe(Duration took);
  void write(MetricsText& text, const std::string& name, const std::string& labels) const;

 private:
  std::span<const double> bounds_;
  std::vector<std::uint64_t> counts_;  // the last one: beyond all bounds
  double sum_ = 0;
};

}  // namespace glowplug::gateway
