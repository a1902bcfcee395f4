#include "gateway/metrics_text.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace glowplug::gateway {

void MetricsText::family(std::string_view name, std::string_view type, std::string_view help) {
  const bool open = format_ == MetricsFormat::OpenMetrics;
  const std::string_view suffix = type == "counter" && !open ? "_total" : "";
  fmt::format_to(std::back_inserter(text_), "# HELP {0}{1} {2}\n# TYPE {0}{1} {3}\n", name, suffix,
                 help, type);
  for (const std::string_view unit : {"seconds", "bytes"})
    if (open && name.ends_with(fmt::format("_{}", unit)))
      fmt::format_to(std::back_inserter(text_), "# UNIT {} {}\n", name, unit);
}

std::string MetricsText::take() {
  if (format_ == MetricsFormat::OpenMetrics) text_ += "# EOF\n";
  return std::move(text_);
}

void Histogram::observe(Duration took) {
  const double seconds = to_seconds(took);
  const auto bucket = std::lower_bound(bounds_.begin(), bounds_.end(), seconds) - bounds_.begin();
  ++counts_[static_cast<std::size_t>(bucket)];
  sum_ += seconds;
}

void Histogram::write(MetricsText& text, const std::string& name, const std::string& labels) const {
  std::uint64_t count = 0;
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    count += counts_[i];
    const std::string bound = i < bounds_.size() ? fmt::format("{}", bounds_[i]) : "+Inf";
    text.sample(name + "_bucket", fmt::format("{},le=\"{}\"", labels, bound), count);
  }
  text.sample(name + "_sum", labels, sum_);
  text.sample(name + "_count", labels, count);
}

}  // namespace glowplug::gateway
