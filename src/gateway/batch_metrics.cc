#include "gateway/batch_metrics.h"

#include <string_view>

#include <fmt/format.h>

namespace glowplug::gateway {
void write_file_store(MetricsText& text, const queue::FileStore& files) {
  text.gauge("glowplug_files", "Files that are kept, uploaded and made.", files.count());
  text.gauge("glowplug_files_bytes", "Of them, and of uploads under way.", files.bytes());
  text.gauge("glowplug_files_budget_bytes", "At which uploads are refused.", files.bytes_max());
}

void write_batches(MetricsText& text, const queue::BatchService& batches) {
  text.family("glowplug_batches", "gauge", "Batches that are kept, by state.");
  const auto counts = batches.count_states();
  for (std::size_t i = 0; i < counts.size(); ++i)
    text.sample("glowplug_batches", fmt::format("status=\"{}\"", queue::kBatchStateNames[i]),
                counts[i]);
  text.family("glowplug_batches_ended", "counter", "Batches that are over, by their end.");
  for (const auto& [state, count] : batches.ended())
    text.sample("glowplug_batches_ended_total",
                fmt::format("status=\"{}\"", queue::to_string(state)), count);
}

void write_webhooks(MetricsText& text, const queue::WebhookCounts& counts) {
  text.family("glowplug_webhook_deliveries", "gauge",
              "Deliveries that are kept, by state; counted every ten seconds.");
  text.sample("glowplug_webhook_deliveries", "status=\"pending\"", counts.kept.pending);
  text.sample("glowplug_webhook_deliveries", "status=\"delivered\"", counts.kept.delivered);
  text.sample("glowplug_webhook_deliveries", "status=\"dead\"", counts.kept.dead);
  text.gauge("glowplug_webhook_attempts_under_way", "Attempts that wait for an answer.",
             counts.under_way);
  text.family("glowplug_webhook_attempts", "counter", "Attempts, by what they came to.");
  text.sample("glowplug_webhook_attempts_total", "outcome=\"delivered\"", counts.delivered);
  text.sample("glowplug_webhook_attempts_total", "outcome=\"again\"", counts.again);
  text.sample("glowplug_webhook_attempts_total", "outcome=\"dead\"", counts.dead);
}

}  // namespace glowplug::gateway
