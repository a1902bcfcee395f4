// What processes hold and what is reserved for them, as gauges.
//
//   by function   its replicas; its template, which others may share, and the spares behind it
//   by kind       replica, template, spare: each process once, so that the sum is what all hold
//
// Held is measured, some seconds ago at most; of what was not measured yet, the reservation.
//
// Thread: the server loop.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "control/views.h"
#include "gateway/metrics_text.h"

namespace glowplug::gateway {

using MemoryOf = std::function<std::uint64_t(domain::ProcessId)>;  // 0 or none: not known

void write_memory(MetricsText& text, const std::vector<control::FunctionView>& functions,
                  const MemoryOf& memory_of);

}  // namespace glowplug::gateway
