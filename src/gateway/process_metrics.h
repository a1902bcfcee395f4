// What has become of processes, as counters: by kind, by the device they run on, by why they ended.
//
// Thread: the server loop.
#pragma once

#include "control/process_counts.h"
#include "gateway/metrics_text.h"

namespace glowplug::gateway {

// Of a kind of which one was started all reasons are shown, from 0 on: the first is an increase.
void write_processes(MetricsText& text, const control::ProcessCounts& counts);

}  // namespace glowplug::gateway
