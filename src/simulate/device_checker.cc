// Every device, and who holds it: simulate/checkers.h.
#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "base/units.h"
#include "simulate/checkers.h"

namespace glowplug::simulate {
namespace {

const std::string kRule = "devices";
constexpr std::uint64_t kCompareEvery = 64;  // turns

class DeviceChecker final : public Checker {
 public:
  explicit DeviceChecker(std::vector<domain::Device> fleet) : fleet_(std::move(fleet)) {}

  void turned(const Turn& turn, Verdict& verdict) override {
    if (fleet_.empty()) return;
    if (const auto* gone = std::get_if<control::ProcessGone>(&turn.event)) forget(gone->process);
    for (const control::Effect& effect : turn.effects.list) {
      const auto* start = std::get_if<control::StartProcess>(&effect);
      if (start != nullptr && !start->devices.empty()) place(*start, turn.now, verdict);
    }
    if (const auto* measured = std::get_if<control::MemoryMeasured>(&turn.event))
      check(measured->process, turn, verdict);
    for (const control::Effect& effect : turn.effects.list)
      if (const auto* start = std::get_if<control::StartProcess>(&effect))
        check(start->process, turn, verdict);
    if (++turns_ % kCompareEvery == 0) compare(turn, verdict);
  }

 private:
  void place(const control::StartProcess& start, Time now, Verdict& verdict) {
    const std::set<domain::DeviceId> once(start.devices.begin(), start.devices.end());
    if (once.size() != start.devices.size() || once.rbegin()->value >= fleet_.size())
      return verdict.fail(now, kRule,
                          fmt::format("process {} is placed on what is no device, or on one twice",
                                      start.process.value));
    for (const domain::DeviceId id : start.devices) holders_[id].insert(start.process);
    places_.emplace(start.process, start.devices);
  }

  void forget(domain::ProcessId process) {
    const auto found = places_.find(process);
    if (found == places_.end()) return;
    for (const domain::DeviceId id : found->second) holders_[id].erase(process);
    places_.erase(found);
  }

  void check(domain::ProcessId process, const Turn& turn, Verdict& verdict) const {
    const auto found = places_.find(process);
    if (found == places_.end()) return;
    for (const domain::DeviceId id : found->second) check(id, turn, verdict);
  }

  void check(domain::DeviceId id, const Turn& turn, Verdict& verdict) const {
    const domain::Device& device = fleet_[id.value];
    const std::uint64_t reserved = turn.brain.device_ledger().reserved(id);
    if (reserved > device.memory_bytes)
      verdict.fail(turn.now, kRule,
                   fmt::format("{} of {} are promised of {}", format_bytes(reserved),
                               format_bytes(device.memory_bytes), device.name));
  }

  void compare(const Turn& turn, Verdict& verdict) const {
    for (const auto& [id, holders] : holders_) {
      check(id, turn, verdict);
      const std::vector<domain::ProcessId> known = turn.brain.device_ledger().holders(id);
      if (!std::equal(known.begin(), known.end(), holders.begin(), holders.end()))
        verdict.fail(turn.now, kRule,
                     fmt::format("{} processes are on {}, and the brain counts {}", holders.size(),
                                 fleet_[id.value].name, known.size()));
    }
  }

  std::vector<domain::Device> fleet_;
  std::map<domain::ProcessId, std::vector<domain::DeviceId>> places_;
  std::map<domain::DeviceId, std::set<domain::ProcessId>> holders_;
  std::uint64_t turns_ = 0;
};

}  // namespace

std::unique_ptr<Checker> make_device_checker(std::vector<domain::Device> fleet) {
  return std::make_unique<DeviceChecker>(std::move(fleet));
}

}  // namespace glowplug::simulate
