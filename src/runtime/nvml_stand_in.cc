// A library that answers as NVML does, for tests on machines without a GPU.
//
//   NVML_STAND_IN_GPUS   "NAME|TOTAL|USED;NAME|…", bytes; empty = none. \xNN in a name is that
//   byte. NVML_STAND_IN_FAIL   "FUNCTION:CODE" or "FUNCTION:CODE:INDEX": that call fails (of that
//   device) NVML_STAND_IN_MIG    index of a device in MIG mode
//
// Built twice; with NVML_STAND_IN_OLD it lacks nvmlDeviceGetMemoryInfo. Thread: one.
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

constexpr int kInvalidArgument = 2;

std::string variable(const char* name) {
  const char* value = std::getenv(name);  // tidy: because a library takes no arguments
  return value == nullptr ? "" : value;
}

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == at)
      parts.emplace_back();
    else
      parts.back() += c;
  }
  return parts;
}

std::string unescaped(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool escape = text.compare(i, 2, "\\x") == 0 && i + 4 <= text.size();
    out += escape ? static_cast<char>(std::stoi(text.substr(i + 2, 2), nullptr, 16)) : text[i];
    i += escape ? 3 : 0;
  }
  return out;
}

std::vector<std::vector<std::string>> gpus() {
  std::vector<std::vector<std::string>> list;
  const std::string text = variable("NVML_STAND_IN_GPUS");
  if (text.empty()) return list;
  for (const std::string& one : split(text, ';')) list.push_back(split(one, '|'));
  return list;
}

// 0, or the code that this call is to answer.
int fault(const std::string& function, long index = -1) {
  const std::vector<std::string> parts = split(variable("NVML_STAND_IN_FAIL"), ':');
  if (parts.size() < 2 || parts[0] != function) return 0;
  return parts.size() < 3 || std::stol(parts[2]) == index ? std::stoi(parts[1]) : 0;
}

int initialised = 0;

long index_of(void* device) { return reinterpret_cast<long>(device) - 1; }

int copy(const std::string& text, char* into, unsigned room) {
  if (text.size() + 1 > room) return 7;  // NVML_ERROR_INSUFFICIENT_SIZE
  std::memcpy(into, text.c_str(), text.size() + 1);
  return 0;
}

struct Memory {
  unsigned long long total, free, used;
};
struct Pci {
  char legacy_id[16];
  unsigned domain, bus, device, device_id, subsystem_id;
  char id[32];
};

}  // namespace

extern "C" {

int nvmlInit_v2() {
  if (const int code = fault("nvmlInit_v2")) return code;
  ++initialised;
  return 0;
}

int nvmlShutdown() { return --initialised == 0 ? 0 : 1; }

const char* nvmlErrorString(int code) {
  return code == 15 ? "GPU is lost" : code == 9 ? "Driver Not Loaded" : nullptr;
}

int nvmlDeviceGetCount_v2(unsigned* count) {
  if (initialised != 1) return 1;
  if (const int code = fault("nvmlDeviceGetCount_v2")) return code;
  *count = static_cast<unsigned>(gpus().size());
  return 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** device) {
  if (const int code = fault("nvmlDeviceGetHandleByIndex_v2", index)) return code;
  if (index >= gpus().size()) return kInvalidArgument;
  *device = reinterpret_cast<void*>(static_cast<long>(index) + 1);
  return 0;
}

int nvmlDeviceGetName(void* device, char* name, unsigned room) {
  if (const int code = fault("nvmlDeviceGetName", index_of(device))) return code;
  return copy(unescaped(gpus().at(static_cast<std::size_t>(index_of(device))).at(0)), name, room);
}

int nvmlDeviceGetUUID(void* device, char* uuid, unsigned room) {
  if (const int code = fault("nvmlDeviceGetUUID", index_of(device))) return code;
  return copy("GPU-stand-in-" + std::to_string(index_of(device)), uuid, room);
}

#ifndef NVML_STAND_IN_OLD
int nvmlDeviceGetMemoryInfo(void* device, Memory* memory) {
  if (const int code = fault("nvmlDeviceGetMemoryInfo", index_of(device))) return code;
  const auto gpu = gpus().at(static_cast<std::size_t>(index_of(device)));
  memory->total = std::stoull(gpu.at(1));
  memory->used = std::stoull(gpu.at(2));
  memory->free = memory->total - memory->used;
  return 0;
}
#endif

int nvmlDeviceGetPciInfo_v3(void* device, Pci* pci) {
  if (const int code = fault("nvmlDeviceGetPciInfo_v3", index_of(device))) return code;
  *pci = {};
  pci->bus = 0x3b + static_cast<unsigned>(index_of(device));
  return 0;
}

int nvmlDeviceGetMigMode(void* device, unsigned* current, unsigned* pending) {
  *current = variable("NVML_STAND_IN_MIG") == std::to_string(index_of(device)) ? 1 : 0;
  *pending = *current;
  return 0;
}

}  // extern "C"
