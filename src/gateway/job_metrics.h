// What is counted of jobs and of the state file's writes. Thread: the server loop.
#pragma once

#include "gateway/metrics_text.h"
#include "queue/job_service.h"

namespace glowplug::gateway {

void write_job_metrics(MetricsText& text, const queue::JobService& jobs);

}  // namespace glowplug::gateway
