// Every device: what its processes hold, and are known to be promised: simulate/checkers.h.
#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "base/units.h"
#include "policy/admission.h"
#include "simulate/checkers.h"

namespace glowplug::simulate {
namespace {

const std::string kRule = "devices";
constexpr std::uint64_t kCompareEvery = 64;  // turns
// Whoever reserves rounds what was measured up, by a twelfth of it and 9 MiB at most.
constexpr std::uint64_t kRoundedBy = 10;  // a tenth
constexpr std::uint64_t kRoundedByLeast = std::uint64_t{10} << 20;

class DeviceChecker final : public Checker {
 public:
  explicit DeviceChecker(const WorldModel& model)
      : model_(model), fleet_(domain::each_alone(model.machine.devices)) {}

  void turned(const Turn& turn, Verdict& verdict) override {
    if (fleet_.empty()) return;
    touched_.clear();
    if (const auto* ready = std::get_if<control::ProcessReady>(&turn.event))
      ready_.insert(ready->process);
    if (const auto* gone = std::get_if<control::ProcessGone>(&turn.event)) forget(gone->process);
    if (const auto* measured = std::get_if<control::MemoryMeasured>(&turn.event)) note(*measured);
    for (const control::Effect& effect : turn.effects.list) {
      const auto* start = std::get_if<control::StartProcess>(&effect);
      if (start == nullptr || start->role != control::Role::Replica || start->from) continue;
      kind_of_.emplace(start->process, kind_of(*start));
      if (!start->devices.empty()) place(*start, turn.now, verdict);
    }
    for (const domain::DeviceId id : touched_) compare(id, turn, verdict);
    if (++turns_ % kCompareEvery == 0) compare_holders(turn, verdict);
  }

 private:
  // Bytes on each of its devices.
  struct Process {
    std::vector<domain::DeviceId> devices;
    std::uint64_t least = 0;    // that are promised: what it holds once it is ready, or was seen to
    std::uint64_t most = 0;     // that may be: what it may come to hold
    std::uint64_t context = 0;  // of all of it, as it is used
  };
  struct Sum {
    std::uint64_t least = 0, most = 0;
    std::set<domain::ProcessId> holders;
  };

  // Processes that hold alike.
  static std::string kind_of(const control::StartProcess& start) {
    return std::string(to_string(start.manifest.engine.kind)) + start.facts.sha256;
  }
  std::uint64_t most_by(std::uint64_t measured, std::uint64_t context) const {
    return measured + measured / kRoundedBy + kRoundedByLeast + context;
  }
  // What its owner declares, or the world knows it to hold; a foreign engine's is not lowered below
  // what was foreseen.
  std::uint64_t least_bytes(const control::StartProcess& start) const {
    const std::uint64_t foreseen = policy::estimate_replica_bytes(start.manifest, start.facts);
    const domain::Manifest& manifest = start.manifest;
    if (manifest.resources.memory_bytes > 0) return foreseen;
    if (manifest.engine.kind == domain::EngineKind::Process) return foreseen;
    if (manifest.engine.kind == domain::EngineKind::Fake) return 0;
    const ModelProfile& profile = profile_of(model_, manifest.name);
    return std::min(profile.weight_bytes + profile.executed_bytes, foreseen);
  }

  void place(const control::StartProcess& start, Time now, Verdict& verdict) {
    const std::set<domain::DeviceId> once(start.devices.begin(), start.devices.end());
    if (once.size() != start.devices.size() || once.rbegin()->value >= fleet_.size())
      return verdict.fail(now, kRule,
                          fmt::format("process {} is placed on what is no device, or on one twice",
                                      start.process.value));
    const std::uint64_t context = policy::estimate_cache_bytes(start.manifest, start.facts);
    const auto peak = peaks_.find(kind_of(start));
    const std::uint64_t most = std::max(policy::estimate_replica_bytes(start.manifest, start.facts),
                                        peak == peaks_.end() ? 0 : most_by(peak->second, context));
    Process& process = processes_[start.process];
    process.devices = start.devices;
    process.context = context;
    for (const domain::DeviceId id : start.devices) sums_[id].holders.insert(start.process);
    raise(process, least_bytes(start), most);
    for (const domain::DeviceId id : start.devices)
      if (const Sum& sum = sums_[id]; sum.least > memory_of(id))
        verdict.fail(now, kRule,
                     fmt::format("process {} starts on {}, where {} hold {} with it, of {}",
                                 start.process.value, fleet_[id.value].name, sum.holders.size(),
                                 format_bytes(sum.least), format_bytes(memory_of(id))));
  }

  void note(const control::MemoryMeasured& measured) {
    const auto kind = kind_of_.find(measured.process);
    if (kind == kind_of_.end()) return;
    std::uint64_t& peak = peaks_[kind->second];
    peak = std::max(peak, measured.mapped_bytes);
    const auto found = processes_.find(measured.process);
    if (found == processes_.end()) return;
    // While it loads it may hold more than it will; nobody must promise that.
    const bool lasts = ready_.contains(measured.process);
    raise(found->second, lasts ? measured.mapped_bytes : 0, most_by(peak, found->second.context));
  }

  void raise(Process& process, std::uint64_t least, std::uint64_t most) {
    const std::uint64_t count = process.devices.size();
    const auto of_each = [count](std::uint64_t bytes) { return (bytes + count - 1) / count; };
    const std::uint64_t more_at_least = std::max(process.least, of_each(least)) - process.least;
    const std::uint64_t more_at_most = std::max(process.most, of_each(most)) - process.most;
    process.least += more_at_least;
    process.most += more_at_most;
    for (const domain::DeviceId id : process.devices) {
      sums_[id].least += more_at_least;
      sums_[id].most += more_at_most;
      touched_.insert(id);
    }
  }

  void forget(domain::ProcessId id) {
    kind_of_.erase(id);
    ready_.erase(id);
    const auto found = processes_.find(id);
    if (found == processes_.end()) return;
    for (const domain::DeviceId device : found->second.devices) {
      Sum& sum = sums_[device];
      sum.least -= found->second.least;
      sum.most -= found->second.most;
      sum.holders.erase(id);
      touched_.insert(device);
    }
    processes_.erase(found);
  }

  std::uint64_t memory_of(domain::DeviceId id) const { return fleet_[id.value].memory_bytes; }

  // What is there beside what was promised.
  void compare(domain::DeviceId id, const Turn& turn, Verdict& verdict) const {
    const Sum& sum = sums_.at(id);
    const std::string& name = fleet_[id.value].name;
    const HeldOnDevice held =
        id.value < turn.devices.size() ? turn.devices[id.value] : HeldOnDevice{};
    if (held.bytes > memory_of(id) + held.outgrown)
      verdict.fail(turn.now, kRule,
                   fmt::format("{} are held on {}, {} of them unforeseen, and it has {}",
                               format_bytes(held.bytes), name, format_bytes(held.outgrown),
                               format_bytes(memory_of(id))));
    const std::uint64_t promised = turn.brain.device_ledger().reserved(id);
    if (promised > memory_of(id))
      verdict.fail(turn.now, kRule,
                   fmt::format("{} of {} are promised of {}", format_bytes(promised),
                               format_bytes(memory_of(id)), name));
    if (promised > sum.most)
      verdict.fail(
          turn.now, kRule,
          fmt::format("{} of {} are promised, and the {} there may come to hold {}",
                      format_bytes(promised), name, sum.holders.size(), format_bytes(sum.most)));
    if (promised < std::min(sum.least, memory_of(id)))
      verdict.fail(
          turn.now, kRule,
          fmt::format("{} of {} are promised, and the {} there hold {}", format_bytes(promised),
                      name, sum.holders.size(), format_bytes(sum.least)));
  }

  void compare_holders(const Turn& turn, Verdict& verdict) const {
    for (const auto& [id, sum] : sums_) {
      const std::vector<domain::ProcessId> known = turn.brain.device_ledger().holders(id);
      if (!std::equal(known.begin(), known.end(), sum.holders.begin(), sum.holders.end()))
        verdict.fail(turn.now, kRule,
                     fmt::format("{} processes are on {}, and the brain counts {}",
                                 sum.holders.size(), fleet_[id.value].name, known.size()));
    }
  }

  WorldModel model_;
  std::vector<domain::Device> fleet_;
  std::unordered_map<std::string, std::uint64_t> peaks_;  // that any of a kind was measured to hold
  std::map<domain::ProcessId, std::string> kind_of_;      // replicas that hold their model alone
  std::set<domain::ProcessId> ready_;
  std::map<domain::ProcessId, Process> processes_;  // those on devices
  std::map<domain::DeviceId, Sum> sums_;
  std::set<domain::DeviceId> touched_;  // in this turn
  std::uint64_t turns_ = 0;
};

}  // namespace

std::unique_ptr<Checker> make_device_checker(const WorldModel& model) {
  return std::make_unique<DeviceChecker>(model);
}

}  // namespace glowplug::simulate
