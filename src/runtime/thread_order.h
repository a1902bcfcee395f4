// Tells a replica of the built-in engine with how many threads to compute from its next step on;
// the other end is worker/thread_count.h.
//
// Thread: any; never blocks. Errors: as send_order's; it goes on with the threads that it has.
#pragma once

#include "base/result.h"

namespace glowplug::runtime {

Result<void> order_threads(int control, int threads);

}  // namespace glowplug::runtime
