// What a brain is made with: what the machine has, and what it may use of it.
//
// Thread: values.
#pragma once

#include <cstdint>
#include <vector>

#include "domain/device.h"
#include "domain/price.h"

namespace glowplug::control {

// Which of what is idle goes first: LastUse is there to compare with.
enum class EvictionOrder { Worth, LastUse };

struct BrainOptions {
  std::uint64_t memory_bytes = 0;    // that replicas and templates may reserve together
  std::uint64_t template_bytes = 0;  // of it, for templates without a replica; 0 = no templates
  int spares = 1;                    // behind each template whose functions were called lately
  int cores = 1;
  int scale_speed = 1;  // of the autoscalers' clock: above 1 it runs faster than time
  bool rests = true;    // false: each turn looks at every function, which changes nothing but time
  std::vector<domain::Device> accelerators = {};
  bool engine_on_gpu = false;  // see DevicePoolOptions
  EvictionOrder eviction = EvictionOrder::Worth;
  domain::PriceTable prices = domain::default_prices();
  domain::Money budget_per_hour = {};  // of all replicas together; 0 = none
};

}  // namespace glowplug::control
