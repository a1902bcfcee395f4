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

// "p50; p90 12.0 ms, p99 1.2 s".
std::string percentiles(const Histogram& histogram) {
  return fmt::format("p50; p90 {}, p99 {}", format_duration(histogram.percentile(0.9)),
                     format_duration(histogram.percentile(0.99)));
}

// Of what takes microseconds as a rule.
std::string in_short(Duration duration) {
  return duration < std::chrono::milliseconds(1)
             ? fmt::format("{:.1f} µs", to_seconds(duration) * 1e6)
             : format_duration(duration);
}

// So that a row stays within a terminal's line.
constexpr std::size_t kWordsMost = 43, kNameMost = 12;

std::string cut(const std::string& name) {
  return name.size() <= kNameMost ? name : name.substr(0, kNameMost - 1) + "…";
}

// What is not zero, as "3 forked, 1 woken", behind `head`.
std::string counts_in_words(const std::vector<std::pair<std::string, std::uint64_t>>& counts,
                            const std::string& head = "") {
  std::string words;
  for (const auto& [what, count] : counts) {
    if (count == 0) continue;
    const std::string more = fmt::format("{}{} {}", words.empty() ? head : ", ", count, what);
    if (words.size() + more.size() > kWordsMost) return words + " …";
    words += more;
  }
  return words;
}

std::string tiers_in_words(const Figures& figures) {
  std::vector<std::pair<std::string, std::uint64_t>> counts;
  for (std::size_t i = 0; i < figures.cold_from.size(); ++i)
    counts.emplace_back(domain::kTierNames[i], figures.cold_from[i]);
  return counts_in_words(counts, "from ");
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
  for (const auto& [name, at] :
       {std::pair("p50_s", 0.5), {"p90_s", 0.9}, {"p95_s", 0.95}, {"p99_s", 0.99}})
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
  const auto number = [](std::uint64_t value) { return std::to_string(value); };
  const std::uint64_t started =
      figures.executed + figures.forked + figures.handed_over + figures.woken;
  std::vector<ReportRow> rows{
      {"calls", number(figures.calls), fmt::format("in {}", format_duration(figures.length))},
      {"answered", number(figures.answered), share(figures.answered, figures.calls)},
      {"refused", number(figures.refusals()),
       counts_in_words({figures.refused.begin(), figures.refused.end()})},
      {"lost", number(figures.lost()),
       counts_in_words(
           {{"broken", figures.broken}, {"timed out", figures.timed_out}, {"left", figures.left}})},
      {"cold starts", number(figures.cold), tiers_in_words(figures)},
      {"waited for starts", format_duration(figures.waited_for_starts), "by all calls together"},
      {"wait for a replica", format_duration(figures.wait.percentile(0.5)),
       percentiles(figures.wait)},
      {"first token", format_duration(figures.first_token.percentile(0.5)),
       percentiles(figures.first_token)},
      {"replicas started", number(started),
       counts_in_words({{"executed", figures.executed},
                        {"forked", figures.forked},
                        {"from spares", figures.handed_over},
                        {"woken", figures.woken}})},
      {"templates loaded", number(figures.templates),
       counts_in_words({{"evictions of anything", figures.evicted}})},
      {"replica-seconds", fmt::format("{:.0f}", figures.replica_s),
       fmt::format("{} at once", figures.replicas_most)},
      {"memory-seconds", fmt::format("{:.1f}", figures.reserved_byte_s / 1e9),
       fmt::format("GB·s, {} of {} at once", format_bytes(figures.reserved_most),
                   format_bytes(machine.memory_bytes))},
      {"device-seconds", fmt::format("{:.1f}", device_seconds(figures, machine)),
       fmt::format("{} {:.1f}, cores busy {:.1f}", cut(machine.device),
                   machine_seconds(figures, machine), computing_seconds(figures, machine))}};
  for (const auto& [type, use] : figures.devices)
    rows.push_back(
        {"  " + cut(type), fmt::format("{:.1f}", use.device_s),
         fmt::format("{} of {} at once, {} answered", use.most, use.there, use.answered)});
  if (figures.turns)
    rows.push_back({"a turn of the brain", in_short(figures.turns->percentile(0.5)),
                    fmt::format("p50; p90 {}, p99 {}", in_short(figures.turns->percentile(0.9)),
                                in_short(figures.turns->percentile(0.99)))});
  if (figures.clamped > 0)
    rows.push_back({"cut to the context", number(figures.clamped),
                    fmt::format("{} tokens", model.function.context)});
  if (const auto bill = bill_of(figures, model))
    rows.push_back({"money", format_micros(bill->total.micros),
                    fmt::format("{} held, {} for calls", format_micros(bill->held.micros),
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
  if (figures.turns) object.raw("turn", json_of(*figures.turns));
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
  Panel refused{.title = "Calls refused", .x_label = "seconds", .y_label = "a second", .lines = {}};
  bool refuses = false;
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
    refuses |= figures.refusals() > 0;
    refused.lines.push_back(
        over_time(figures.series, name, [](const Series::Span& span, double length) {
          return static_cast<double>(span.refused) / length;
        }));
  }
  std::vector<Panel> panels{std::move(trade), std::move(waits), std::move(memory)};
  if (refuses) panels.push_back(std::move(refused));
  return svg_of("Policies on the same calls", panels);
}

}  // namespace glowplug::simulate
