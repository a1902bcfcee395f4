#include "simulate/report.h"

#include <iterator>

#include <fmt/format.h>

#include "base/units.h"
#include "simulate/svg_plot.h"

namespace glowplug::simulate {
namespace {

std::string share(std::uint64_t part, std::uint64_t whole) {
  if (whole == 0) return "";
  return fmt::format("{:.2f} %", 100 * static_cast<double>(part) / static_cast<double>(whole));
}

std::string percentiles(const Histogram& histogram) {
  return fmt::format("{} / {} / {}", format_duration(histogram.percentile(0.5)),
                     format_duration(histogram.percentile(0.9)),
                     format_duration(histogram.percentile(0.99)));
}

std::string tiers_in_words(const Figures& figures) {
  std::string words;
  for (std::size_t i = 0; i < figures.cold_from.size(); ++i)
    if (figures.cold_from[i] > 0)
      words += fmt::format("{}{} {}", words.empty() ? "from " : ", ", domain::kTierNames[i],
                           figures.cold_from[i]);
  return words;
}

// "A10G 12.5, T4 3.0"; of the machine itself where anything was there.
std::string devices_in_words(const Figures& figures, const Machine& machine) {
  std::string words;
  for (const auto& [type, use] : figures.devices)
    words += fmt::format("{} {:.1f} ({} of {} at once), ", type, use.device_s, use.most, use.there);
  return words + fmt::format("{} {:.1f}", machine.device, machine_seconds(figures, machine));
}

std::string refusals_in_words(const Figures& figures) {
  std::string words;
  for (const auto& [code, count] : figures.refused)
    words += fmt::format("{}{} {}", words.empty() ? "" : ", ", code, count);
  return words;
}

std::string starts_in_words(const Figures& figures) {
  std::string words;
  const std::pair<const char*, std::uint64_t> kinds[] = {{"executed", figures.executed},
                                                         {"forked", figures.forked},
                                                         {"spares", figures.handed_over},
                                                         {"woken", figures.woken}};
  for (const auto& [kind, count] : kinds)
    if (count > 0) words += fmt::format("{}{} {}", words.empty() ? "" : ", ", count, kind);
  return words;
}

// An object's members, one after the other.
class Object final {
 public:
  void add(std::string_view name, double value) { raw(name, fmt::format("{:.6f}", value)); }
  void add(std::string_view name, std::uint64_t value) { raw(name, std::to_string(value)); }
  void raw(std::string_view name, const std::string& value) {
    fmt::format_to(std::back_inserter(text_), "{}\"{}\":{}", text_.empty() ? "" : ",", name, value);
  }
  std::string take() const { return "{" + text_ + "}"; }

 private:
  std::string text_;
};

std::string json_of(const Histogram& histogram) {
  Object object;
  object.add("mean_s", to_seconds(histogram.mean()));
  for (const auto& [name, at] : {std::pair("p50_s", 0.5), {"p90_s", 0.9}, {"p99_s", 0.99}})
    object.add(name, to_seconds(histogram.percentile(at)));
  object.add("longest_s", to_seconds(histogram.longest()));
  return object.take();
}

PlotLine over_time(const Series& series, const std::string& label,
                   double (*value)(const Series::Span&, double length)) {
  PlotLine line{.label = label, .points = {}};
  const double length = to_seconds(series.length);
  for (std::size_t i = 0; i < series.spans.size(); ++i)
    line.points.emplace_back((static_cast<double>(i) + 0.5) * length,
                             value(series.spans[i], length));
  return line;
}

PlotLine cumulative(const Histogram& histogram, const std::string& label) {
  PlotLine line{.label = label, .points = {}};
  for (const Histogram::Point& point : histogram.curve())
    line.points.emplace_back(std::max(1e-4, to_seconds(point.value)), 100 * point.up_to);
  return line;
}

}  // namespace

std::vector<ReportRow> report_rows(const Figures& figures, const WorldModel& model) {
  const Machine& machine = model.machine;
  std::vector<ReportRow> rows{
      {"calls", std::to_string(figures.calls),
       fmt::format("in {}", format_duration(figures.length))},
      {"answered", std::to_string(figures.answered), share(figures.answered, figures.calls)},
      {"refused", std::to_string(figures.refusals()), refusals_in_words(figures)},
      {"broken, late, left",
       fmt::format("{}, {}, {}", figures.broken, figures.timed_out, figures.left), ""},
      {"cold starts", std::to_string(figures.cold), tiers_in_words(figures)},
      {"waited for starts", format_duration(figures.waited_for_starts), "by all calls together"},
      {"wait p50 / p90 / p99", percentiles(figures.wait), "until a replica takes it"},
      {"first token, same", percentiles(figures.first_token), "from the call on"},
      {"replicas started",
       std::to_string(figures.executed + figures.forked + figures.handed_over + figures.woken),
       starts_in_words(figures)},
      {"templates loaded", std::to_string(figures.templates),
       fmt::format("{} evictions", figures.evicted)},
      {"replica-seconds", fmt::format("{:.0f}", figures.replica_s),
       fmt::format("{} at once", figures.replicas_most)},
      {"memory-seconds", fmt::format("{:.1f} GB·s", figures.reserved_byte_s / 1e9),
       fmt::format("{} of {} at once", format_bytes(figures.reserved_most),
                   format_bytes(machine.memory_bytes))},
      {"device-seconds", fmt::format("{:.1f}", device_seconds(figures, machine)),
       figures.devices.empty()
           ? fmt::format("{:.1f} of them computing", computing_seconds(figures, machine))
           : devices_in_words(figures, machine)}};
  if (figures.clamped > 0)
    rows.push_back({"cut to the context", std::to_string(figures.clamped),
                    fmt::format("{} tokens", model.function.context)});
  if (const auto bill = bill_of(figures, model))
    rows.push_back({"money", format_micros(bill->total.micros),
                    fmt::format("{} held, {} by the call", format_micros(bill->held.micros),
                                format_micros(bill->fees.micros))});
  return rows;
}

std::string report_json(const Figures& figures, const WorldModel& model) {
  Object object;
  object.add("seconds", to_seconds(figures.length));
  object.add("calls", figures.calls);
  object.add("answered", figures.answered);
  Object refused;
  for (const auto& [code, count] : figures.refused) refused.add(code, count);
  object.raw("refused", refused.take());
  object.add("broken", figures.broken);
  object.add("timed_out", figures.timed_out);
  object.add("left", figures.left);
  object.add("clamped", figures.clamped);
  object.add("prompt_tokens", figures.prompt_tokens);
  object.add("output_tokens", figures.output_tokens);
  object.add("cold", figures.cold);
  Object tiers;
  for (std::size_t i = 0; i < figures.cold_from.size(); ++i)
    tiers.add(domain::kTierNames[i], figures.cold_from[i]);
  object.raw("cold_from", tiers.take());
  object.add("waited_for_starts_s", to_seconds(figures.waited_for_starts));
  object.raw("wait", json_of(figures.wait));
  object.raw("first_token", json_of(figures.first_token));
  object.add("executed", figures.executed);
  object.add("forked", figures.forked);
  object.add("handed_over", figures.handed_over);
  object.add("woken", figures.woken);
  object.add("spares", figures.spares);
  object.add("templates", figures.templates);
  object.add("evicted", figures.evicted);
  object.add("crashed", figures.crashed);
  object.add("replica_seconds", figures.replica_s);
  object.add("template_seconds", figures.template_s);
  object.add("memory_gb_seconds", figures.reserved_byte_s / 1e9);
  object.add("memory_bytes_most", figures.reserved_most);
  object.add("replicas_most", static_cast<std::uint64_t>(figures.replicas_most));
  object.add("device_seconds", device_seconds(figures, model.machine));
  Object devices;
  for (const auto& [type, use] : figures.devices) {
    Object one;
    one.add("there", static_cast<std::uint64_t>(use.there));
    one.add("at_once", static_cast<std::uint64_t>(use.most));
    one.add("seconds", use.device_s);
    one.add("answered", use.answered);
    devices.raw(type, one.take());
  }
  object.raw("devices", devices.take());
  object.add("machine_seconds", machine_seconds(figures, model.machine));
  object.add("computing_seconds", computing_seconds(figures, model.machine));
  if (const auto bill = bill_of(figures, model)) {
    Object money;
    money.raw("held", std::to_string(bill->held.micros));
    money.raw("fees", std::to_string(bill->fees.micros));
    money.raw("total", std::to_string(bill->total.micros));
    object.raw("micros", money.take());
  }
  return object.take();
}

std::string report_plot(const std::string& title, const Figures& figures) {
  const Series& series = figures.series;
  using Span = Series::Span;
  const std::string time = "seconds";
  std::vector<Panel> panels{
      {.title = "Calls",
       .x_label = time,
       .y_label = "a second",
       .lines = {over_time(series, "calls",
                           [](const Span& span, double length) {
                             return static_cast<double>(span.calls) / length;
                           }),
                 over_time(series, "cold",
                           [](const Span& span, double length) {
                             return static_cast<double>(span.cold) / length;
                           }),
                 over_time(series, "refused",
                           [](const Span& span, double length) {
                             return static_cast<double>(span.refused) / length;
                           })}},
      {.title = "Memory reserved",
       .x_label = time,
       .y_label = "GB",
       .lines = {over_time(
           series, "all",
           [](const Span& span, double length) { return span.reserved_byte_s / length / 1e9; })}},
      {.title = "Processes",
       .x_label = time,
       .y_label = "",
       .lines = {over_time(series, "replicas",
                           [](const Span& span, double length) { return span.replica_s / length; }),
                 over_time(
                     series, "templates",
                     [](const Span& span, double length) { return span.template_s / length; })}},
      {.title = "Calls that waited at most so long",
       .x_label = time,
       .y_label = "%",
       .x_axis = Axis::Logarithmic,
       .lines = {cumulative(figures.wait, "for a replica"),
                 cumulative(figures.first_token, "for the first token")}}};
  if (!figures.devices.empty())
    panels.insert(panels.end() - 1,
                  {.title = "Devices in use",
                   .x_label = time,
                   .y_label = "",
                   .lines = {over_time(series, "accelerators", [](const Span& span, double length) {
                     return span.device_s / length;
                   })}});
  return svg_of(title, panels);
}

std::string plan_plot(const std::vector<std::pair<std::string, Figures>>& policies) {
  Panel trade{.title = "What callers waited for starts, against the memory that it took",
              .x_label = "memory-seconds (GB·s)",
              .y_label = "seconds",
              .y_axis = Axis::Logarithmic,
              .lines = {}};
  Panel waits{.title = "Calls whose first token came within",
              .x_label = "seconds",
              .y_label = "%",
              .x_axis = Axis::Logarithmic,
              .lines = {}};
  Panel memory{.title = "Memory reserved", .x_label = "seconds", .y_label = "GB", .lines = {}};
  for (const auto& [name, figures] : policies) {
    trade.lines.push_back({.label = name,
                           .points = {{figures.reserved_byte_s / 1e9,
                                       std::max(1e-3, to_seconds(figures.waited_for_starts))}},
                           .mark = Mark::Point});
    waits.lines.push_back(cumulative(figures.first_token, name));
    memory.lines.push_back(
        over_time(figures.series, name, [](const Series::Span& span, double length) {
          return span.reserved_byte_s / length / 1e9;
        }));
  }
  return svg_of("Policies on the same calls", {trade, waits, memory});
}

}  // namespace glowplug::simulate
