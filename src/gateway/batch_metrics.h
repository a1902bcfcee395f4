// What is counted of files, batches and webhooks. Thread: the server loop.
#pragma once

#include "gateway/metrics_text.h"
#include "queue/batch_service.h"
#include "queue/file_store.h"
#include "queue/webhook_admin.h"

namespace glowplug::gateway {

void write_file_store(MetricsText& text, const queue::FileStore& files);
void write_batches(MetricsText& text, const queue::BatchService& batches);
void write_webhooks(MetricsText& text, const queue::WebhookCounts& counts);

}  // namespace glowplug::gateway
