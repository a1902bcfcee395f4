#include "worker/thread_count.h"

#include <algorithm>
#include <cstdint>

#include <boost/json/value.hpp>

namespace glowplug::worker {

void ThreadCount::obey(const Order& order) {
  const boost::json::value* threads = order.fields.if_contains("threads");
  if (threads == nullptr || !threads->is_int64() || threads->get_int64() < 1) return;
  now_.store(static_cast<int>(std::min<std::int64_t>(threads->get_int64(), most_)),
             std::memory_order_relaxed);
}

}  // namespace glowplug::worker
