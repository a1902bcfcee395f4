#include "runtime/nvml_probe.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <dlfcn.h>
#include <memory>
#include <utility>

#include <fmt/format.h>

#include "base/read_file.h"
#include "domain/limits.h"

namespace glowplug::runtime {
namespace {

// What of NVML's interface is used, as its documentation describes it.
using NvmlDevice = void*;
struct NvmlMemory {
  unsigned long long total = 0, free = 0, used = 0;
};
struct NvmlPci {
  char legacy_id[16];
  unsigned domain, bus, device, device_id, subsystem_id;
  char id[32];
};
constexpr int kNvmlSuccess = 0;
constexpr unsigned kNameBytes = 96;

// The functions that are called; null where the library has none.
struct Nvml {
  int (*init)() = nullptr;
  int (*shutdown)() = nullptr;
  const char* (*error_string)(int) = nullptr;
  int (*device_count)(unsigned*) = nullptr;
  int (*device_handle)(unsigned, NvmlDevice*) = nullptr;
  int (*device_name)(NvmlDevice, char*, unsigned) = nullptr;
  int (*device_uuid)(NvmlDevice, char*, unsigned) = nullptr;
  int (*device_memory)(NvmlDevice, NvmlMemory*) = nullptr;
  int (*device_pci)(NvmlDevice, NvmlPci*) = nullptr;
  int (*device_mig)(NvmlDevice, unsigned* current, unsigned* pending) = nullptr;
};

struct CloseLibrary {
  void operator()(void* library) const { ::dlclose(library); }
};
using Library = std::unique_ptr<void, CloseLibrary>;

template <typename Function>
bool find(void* library, const char* name, Function& into) {
  into = reinterpret_cast<Function>(::dlsym(library, name));
  return into != nullptr;
}

// The first that is missing; what older drivers lack is done without.
std::string bind(void* library, Nvml& nvml) {
  find(library, "nvmlDeviceGetUUID", nvml.device_uuid);
  find(library, "nvmlDeviceGetPciInfo_v3", nvml.device_pci);
  find(library, "nvmlDeviceGetMigMode", nvml.device_mig);
  find(library, "nvmlErrorString", nvml.error_string);
  if (!find(library, "nvmlInit_v2", nvml.init)) return "nvmlInit_v2";
  if (!find(library, "nvmlShutdown", nvml.shutdown)) return "nvmlShutdown";
  if (!find(library, "nvmlDeviceGetCount_v2", nvml.device_count)) return "nvmlDeviceGetCount_v2";
  if (!find(library, "nvmlDeviceGetHandleByIndex_v2", nvml.device_handle))
    return "nvmlDeviceGetHandleByIndex_v2";
  if (!find(library, "nvmlDeviceGetName", nvml.device_name)) return "nvmlDeviceGetName";
  if (!find(library, "nvmlDeviceGetMemoryInfo", nvml.device_memory))
    return "nvmlDeviceGetMemoryInfo";
  return {};
}

std::string printable(std::string_view text) {
  std::string out(text.substr(0, text.find('\0')));
  std::replace_if(
      out.begin(), out.end(), [](unsigned char c) { return c < 0x20 || c >= 0x7f; }, '?');
  return out;
}

std::string why(const Nvml& nvml, int code) {
  const char* text = nvml.error_string != nullptr ? nvml.error_string(code) : nullptr;
  return text != nullptr ? fmt::format("{} ({})", printable(text), code)
                         : fmt::format("code {}", code);
}

std::string text_from(int (*ask)(NvmlDevice, char*, unsigned), NvmlDevice device, int& code) {
  std::array<char, kNameBytes> text{};
  code = ask(device, text.data(), kNameBytes - 1);  // the last byte stays zero
  return code == kNvmlSuccess ? printable({text.data(), text.size()}) : std::string();
}

std::optional<int> numa_node_of(const Nvml& nvml, NvmlDevice device, const std::string& sys_root) {
  NvmlPci pci{};
  if (nvml.device_pci == nullptr || nvml.device_pci(device, &pci) != kNvmlSuccess) return {};
  const std::string text =
      read_text(fmt::format("{}/bus/pci/devices/{:04x}:{:02x}:{:02x}.0/numa_node", sys_root,
                            pci.domain, pci.bus, pci.device));
  int node = 0;
  if (text.empty() || std::sscanf(text.c_str(), "%d", &node) != 1 || node < 0) return {};
  return node;  // the kernel says -1 where there is one node alone
}

bool is_divided(const Nvml& nvml, NvmlDevice device) {
  unsigned current = 0, pending = 0;
  return nvml.device_mig != nullptr &&
         nvml.device_mig(device, &current, &pending) == kNvmlSuccess && current == 1;
}

// Nothing, and a fault, where one of the answers that are needed does not come.
std::optional<FoundGpu> look(const Nvml& nvml, unsigned index, const std::string& sys_root,
                             std::vector<std::string>& faults) {
  const auto failed = [&](std::string_view what, int code) {
    faults.push_back(
        fmt::format("GPU {} is left out: its {} is not told: {}", index, what, why(nvml, code)));
    return std::nullopt;
  };
  NvmlDevice device = nullptr;
  if (const int code = nvml.device_handle(index, &device); code != kNvmlSuccess)
    return failed("handle", code);
  FoundGpu gpu;
  int code = kNvmlSuccess;
  gpu.name = text_from(nvml.device_name, device, code);
  if (code != kNvmlSuccess) return failed("name", code);
  NvmlMemory memory;
  if (code = nvml.device_memory(device, &memory); code != kNvmlSuccess)
    return failed("memory", code);
  if (is_divided(nvml, device)) {
    faults.push_back(fmt::format(
        "GPU {} ({}) is left out: it is in MIG mode; declare its instances in the setting devices",
        index, gpu.name));
    return std::nullopt;
  }
  gpu.memory_bytes = memory.total;
  gpu.used_bytes = std::min(memory.used, memory.total);
  if (nvml.device_uuid != nullptr) gpu.uuid = text_from(nvml.device_uuid, device, code);
  gpu.numa_node = numa_node_of(nvml, device, sys_root);
  return gpu;
}

}  // namespace

GpuProbe probe_gpus(const NvmlOptions& options) {
  GpuProbe probe;
  const Library library(::dlopen(options.library.c_str(), RTLD_NOW | RTLD_LOCAL));
  if (library == nullptr) {
    const char* reason = ::dlerror();
    probe.faults.push_back(reason != nullptr ? reason : options.library + " cannot be opened");
    return probe;
  }
  probe.library_found = true;
  Nvml nvml;
  if (const std::string missing = bind(library.get(), nvml); !missing.empty()) {
    probe.faults.push_back(fmt::format("{} has no {}", options.library, missing));
    return probe;
  }
  if (const int code = nvml.init(); code != kNvmlSuccess) {
    probe.faults.push_back(fmt::format("NVML does not begin: {}", why(nvml, code)));
    return probe;
  }
  unsigned count = 0;
  if (const int code = nvml.device_count(&count); code != kNvmlSuccess)
    probe.faults.push_back(fmt::format("NVML does not count the GPUs: {}", why(nvml, code)));
  else
    for (unsigned i = 0; i < std::min<unsigned>(count, domain::kDeviceCountMax); ++i)
      if (auto gpu = look(nvml, i, options.sys_root, probe.faults))
        probe.gpus.push_back(*std::move(gpu));
  nvml.shutdown();
  return probe;
}

std::string gpu_type(std::string_view name) {
  std::string type;
  while (!name.empty()) {
    const std::string_view word = name.substr(0, name.find_first_of(" -"));
    name.remove_prefix(std::min(name.size(), word.size() + 1));
    const bool is_maker = word == "NVIDIA" || word == "Tesla" || word == "GeForce" ||
                          word == "Quadro" || word.empty();
    if (is_maker) continue;
    std::string plain;
    for (const char c : word)
      if (domain::is_device_name({&c, 1})) plain += c;
    if (plain.empty()) continue;
    type += (type.empty() ? "" : "-") + plain;
    // Letters alone (RTX, TITAN) name a family, and the next word says which.
    if (std::any_of(plain.begin(), plain.end(), [](char c) { return c >= '0' && c <= '9'; })) break;
  }
  type.resize(std::min(type.size(), domain::kDeviceNameBytesMax));
  return type.empty() || domain::same_device(type, domain::kCpu) ? "GPU" : type;
}

std::vector<domain::Device> to_devices(const std::vector<FoundGpu>& gpus) {
  std::vector<domain::Device> devices;
  for (const FoundGpu& gpu : gpus) {
    const std::string type = gpu_type(gpu.name);
    devices.push_back({.name = type,
                       .type = type,
                       .memory_bytes = gpu.memory_bytes - gpu.used_bytes,
                       .origin = domain::DeviceOrigin::Found,
                       .numa_node = gpu.numa_node,
                       .uuid = gpu.uuid});
  }
  return devices;
}

}  // namespace glowplug::runtime
