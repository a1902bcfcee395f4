#include "gateway/process_metrics.h"

#include <string>

#include "fmt/format.h"

namespace glowplug::gateway {
namespace {

std::string labels(const control::ProcessCounts::Kind& kind) {
  return fmt::format("kind=\"{}\",device=\"{}\"", to_string(kind.kind), to_string(kind.place));
}

}  // namespace

void write_processes(MetricsText& text, const control::ProcessCounts& counts) {
  const auto all = counts.all();
  text.family("glowplug_processes_started", "counter",
              "Processes that were started: all that ended, and those running.");
  for (const auto& [kind, count] : all)
    text.sample("glowplug_processes_started_total", labels(kind), count.started);
  text.family("glowplug_processes_running", "gauge", "Processes that are there.");
  for (const auto& [kind, count] : all)
    text.sample("glowplug_processes_running", labels(kind), count.running);
  text.family("glowplug_processes_ended", "counter", "Processes that have ended, by why.");
  for (const auto& [kind, count] : all)
    for (std::size_t i = 0; i < count.ended.size(); ++i)
      text.sample("glowplug_processes_ended_total",
                  fmt::format("{},reason=\"{}\"", labels(kind), domain::kExitReasonNames[i]),
                  count.ended[i]);
}

}  // namespace glowplug::gateway
