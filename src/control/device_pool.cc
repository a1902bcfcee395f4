#include "control/device_pool.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace glowplug::control {
namespace {

std::vector<domain::Device> fleet_of(const DevicePoolOptions& options) {
  std::vector<domain::Device> fleet = domain::each_alone(options.accelerators);
  fleet.push_back({.name = std::string(domain::kCpu),
                   .type = std::string(domain::kCpu),
                   .memory_bytes = options.cpu_bytes,
                   .origin = domain::DeviceOrigin::Found});
  return fleet;
}

bool is_found_gpu(const domain::Device& device) {
  return !device.is_cpu() && device.origin == domain::DeviceOrigin::Found;
}

}  // namespace

DevicePool::DevicePool(const DevicePoolOptions& options)
    : ledger_(fleet_of(options)),
      engine_on_gpu_(options.engine_on_gpu),
      found_(static_cast<std::size_t>(
          std::count_if(ledger_.fleet().begin(), ledger_.fleet().end(), is_found_gpu))) {
  std::vector<domain::DeviceId> all, declared;
  for (std::size_t i = 0; i < ledger_.fleet().size(); ++i) {
    all.push_back({i});
    if (!is_found_gpu(ledger_.fleet()[i])) declared.push_back({i});
  }
  all_ = policy::usable_devices(ledger_.fleet(), std::move(all));
  declared_ = policy::usable_devices(ledger_.fleet(), std::move(declared));
}

bool DevicePool::uses_found(const domain::Manifest& manifest) const {
  return engine_on_gpu_ && manifest.engine.kind == domain::EngineKind::Llama;
}

const policy::UsableDevices& DevicePool::usable(const domain::Manifest& manifest) const {
  return uses_found(manifest) ? all_ : declared_;
}

bool DevicePool::has_accelerators_for(const domain::Manifest& manifest) const {
  return !usable(manifest).accelerators.empty();
}

Result<std::vector<policy::Placement>> DevicePool::placements(const Want& want) const {
  const domain::Manifest& manifest = want.manifest;
  const policy::UsableDevices& devices = usable(manifest);
  domain::DeviceWish wish =
      domain::parse_device_wish(manifest.resources.device).value_or(domain::DeviceWish{});
  // A GPU that this server does not know is its engine's own affair.
  const bool chooses_itself =
      manifest.engine.kind == domain::EngineKind::Process || uses_found(manifest);
  if (devices.accelerators.empty() && chooses_itself) wish = {};
  return policy::placements(
      {.function = manifest.name,
       .weight_bytes =
           want.facts.weight_bytes > 0 ? want.facts.weight_bytes : manifest.resources.memory_bytes,
       .bytes = want.bytes,
       .wish = std::move(wish),
       .demand = want.demand},
      ledger_.fleet(), devices);
}

std::vector<std::string> DevicePool::names_of(domain::ProcessId replica) const {
  const policy::Allocation* on = ledger_.allocation(replica);
  if (on == nullptr) return {std::string(domain::kCpu)};
  std::vector<std::string> names;
  for (const domain::DeviceId id : on->devices) names.push_back(ledger_.device(id).name);
  return names;
}

bool DevicePool::is_on_any(domain::ProcessId replica,
                           const std::vector<domain::DeviceId>& devices) const {
  const policy::Allocation* on = ledger_.allocation(replica);
  return on != nullptr && std::find_first_of(on->devices.begin(), on->devices.end(),
                                             devices.begin(), devices.end()) != on->devices.end();
}

std::optional<std::string> DevicePool::visible_gpus(const domain::Manifest& manifest,
                                                    const policy::Allocation* on) const {
  if (found_ == 0 || !uses_found(manifest)) return std::nullopt;
  if (on == nullptr) return std::string();
  if (on->devices.size() == found_) return std::nullopt;
  std::vector<std::string> uuids;
  for (const domain::DeviceId id : on->devices) {
    if (ledger_.device(id).uuid.empty()) return std::nullopt;  // it cannot be named
    uuids.push_back(ledger_.device(id).uuid);
  }
  return fmt::format("{}", fmt::join(uuids, ","));
}

std::optional<Time> DevicePool::next_trial(Time now) const {
  std::optional<Time> next;
  if (!ledger_.is_any_quarantined()) return next;
  for (std::size_t i = 0; i < ledger_.fleet().size(); ++i)
    if (const auto until = ledger_.quarantined_until({i}, now))
      next = next ? std::min(*next, *until) : until;
  return next;
}

bool is_cpu(const policy::Placement& placed) {
  return domain::same_device(placed.type, domain::kCpu);
}

std::string in_words(const policy::Placement& placed) {
  return placed.count == 1 ? placed.type : fmt::format("{} x{}", placed.type, placed.count);
}

}  // namespace glowplug::control
