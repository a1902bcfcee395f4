// Which NVIDIA GPUs this machine has, asked of the driver's own library, NVML.
//
// The library is opened by name when it is asked and closed afterwards, so that one program runs
// with and without a GPU and is built without NVIDIA's headers. What does not answer is left out
// and told in words; a machine without the library has no GPUs, which is no fault. A device in
// MIG mode is left out: its parts are devices of their own, which are not told apart here.
//
// Thread: any, one at a time. The driver may need some hundred milliseconds when it was not loaded.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "domain/device.h"

namespace glowplug::runtime {

struct NvmlOptions {
  std::string library = "libnvidia-ml.so.1";
  std::string sys_root = "/sys";  // where a device's NUMA node is read
};

struct FoundGpu {
  std::string name;  // as its driver gives it, without what cannot be printed
  std::string uuid;
  std::uint64_t memory_bytes = 0;
  std::uint64_t used_bytes = 0;  // by others, as this server starts
  std::optional<int> numa_node;
};

struct GpuProbe {
  bool library_found = false;
  std::vector<FoundGpu> gpus;
  std::vector<std::string> faults;  // a sentence each
};
GpuProbe probe_gpus(const NvmlOptions& options = {});

// "H100" of "NVIDIA H100 80GB HBM3", "RTX-4090" of "NVIDIA GeForce RTX 4090": fit for a manifest.
std::string gpu_type(std::string_view name);

// Rows for the pool: what others hold already is not theirs to promise.
std::vector<domain::Device> to_devices(const std::vector<FoundGpu>& gpus);

}  // namespace glowplug::runtime
