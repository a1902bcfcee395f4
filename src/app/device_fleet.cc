#include "app/device_fleet.h"

#include <spdlog/spdlog.h>

#include "base/units.h"
#include "runtime/nvml_probe.h"

namespace glowplug::app {

std::vector<domain::Device> accelerators(const ServerConfig& config) {
  std::vector<domain::Device> devices;
  if (config.devices) {
    for (const domain::Device& row : *config.devices) {
      if (row.is_cpu()) continue;
      spdlog::info("device={} x{} type={} memory={} declared", row.name, row.count, row.type,
                   format_bytes(row.memory_bytes));
      devices.push_back(row);
    }
    return devices;
  }
  if (config.nvml.empty()) return devices;
  const runtime::GpuProbe probe = runtime::probe_gpus({.library = config.nvml});
  for (const std::string& fault : probe.faults) {
    const bool is_usual = !probe.library_found && config.nvml == kNvmlDefault;
    spdlog::log(is_usual ? spdlog::level::debug : spdlog::level::warn, "GPUs: {}", fault);
  }
  for (const runtime::FoundGpu& gpu : probe.gpus)
    spdlog::info("GPU \"{}\" uuid={} memory={} of it {} in use by others", gpu.name, gpu.uuid,
                 format_bytes(gpu.memory_bytes), format_bytes(gpu.used_bytes));
  return runtime::to_devices(probe.gpus);
}

}  // namespace glowplug::app
