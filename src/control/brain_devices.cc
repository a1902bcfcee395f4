// Devices in the brain: what could hold a function, which of them its next replica gets, who makes
// room there.
//
//   model prepared ──▶ placed: a type by its size, and why (or it is refused, by name and bytes)
//   start ──▶ devices with room now ──▶ reserved with the replica's id ──▶ gone: given back
//                └─ none: what is idle there stops, unless it keeps its turn; else it waits
//
// Where there is no accelerator, all this is the CPU, whose memory brain_memory.cc counts. A
// replica on a declared device runs on this machine like any other, and its memory is counted here
// too; only the fake engine holds less than it says, and pretends the rest there.
#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "base/units.h"
#include "control/brain.h"
#include "control/device_room.h"
#include "policy/admission.h"

namespace glowplug::control {

std::uint64_t BrainState::Replica::host_bytes() const {
  return pretends ? policy::estimate_pretender_bytes(memory_bytes, account.seen.peak)
                  : memory_bytes;
}

// --- where it could run ---

bool Brain::is_on_accelerator(const Generation& generation) const {
  return generation.placement && !is_cpu(*generation.placement);
}

bool Brain::computes_here(const Generation& generation) const {
  return !is_on_accelerator(generation) ||
         (generation.manifest.engine.kind != domain::EngineKind::Fake && !options_.engine_on_gpu);
}

std::uint64_t Brain::host_bytes(const Generation& generation) const {
  const std::uint64_t bytes = replica_bytes(generation);
  return generation.manifest.engine.kind == domain::EngineKind::Fake
             ? policy::estimate_pretender_bytes(bytes, 0)
             : bytes;
}

Result<std::vector<policy::Placement>> Brain::placements(const Function& function,
                                                         const Generation& generation) const {
  const domain::Manifest& manifest = generation.manifest;
  std::uint64_t bytes = replica_bytes(generation);
  if (!pool_.has_accelerators_for(manifest) && may_fork(generation))  // the easier way to start
    bytes = std::min(bytes, loading_bytes(generation));
  const policy::Demand demand = function.rate.demand(now_);
  std::optional<Places>& known = generation.places;  // asked at every turn in which it waits
  if (!known || known->bytes != bytes || known->demand != demand)
    known.emplace(Places{
        .bytes = bytes,
        .demand = demand,
        .found = pool_.placements(
            {.manifest = manifest, .facts = generation.facts, .bytes = bytes, .demand = demand})});
  if (!known->found) return known->found;
  return prices_.payable_ever(manifest.name, budget_of(function, generation), *known->found);
}

Result<void> Brain::may_place(const domain::Manifest& manifest) const {
  const domain::Budget& budget = manifest.scale.budget;
  if (auto fits = may_ever_reserve(manifest.name, budget, manifest.resources.memory_bytes); !fits)
    return fits;
  const bool is_known = manifest.model.empty() || manifest.resources.memory_bytes > 0;
  if (is_known) {
    Function function;
    function.current.manifest = manifest;
    const auto found = placements(function, function.current);
    return found ? Result<void>() : found.error();
  }
  // Of unknown size it may be on each device that is asked for, and on the CPU where that is left
  // open.
  auto any = pool_.placements({.manifest = manifest, .facts = {}, .bytes = 1});
  if (!any) return {};
  const auto wish = domain::parse_device_wish(manifest.resources.device);
  if (!wish || wish->is_auto())
    any->push_back({.type = std::string(domain::kCpu), .reason = {}, .devices = {}});
  const auto payable = prices_.payable_ever(manifest.name, budget, *std::move(any));
  return payable ? Result<void>() : payable.error();
}

// False where no device may ever hold it: then it has failed.
bool Brain::place(const std::string& name, Function& function, Generation& generation) {
  function.rate.begin(now_);
  generation.placement.reset();
  auto found = placements(function, generation);
  if (found)
    note_placement(name, generation, std::move(found->front()));
  else
    fail(name, function, generation, found.error());
  return found.ok();
}

void Brain::note_placement(const std::string& name, Generation& generation,
                           policy::Placement placed) {
  placed.devices.clear();  // there may be thousands, and functions too
  if (generation.placement == placed) return;
  if (pool_.has_accelerators())
    decide(
        name, "place",
        fmt::format("revision {} on {}: {}", generation.revision, in_words(placed), placed.reason));
  generation.placement = std::move(placed);
}

// --- a start ---

void Brain::start_on_device(const std::string& name, Function& function, Generation& generation) {
  auto places = placements(function, generation);
  if (places)
    if (auto may =
            may_ever_reserve(name, budget_of(function, generation), replica_bytes(generation));
        !may)
      places = may.error();
  if (!places) return fail(name, function, generation, places.error());
  if (is_cpu(places->front())) {  // it has turned out to be larger than every accelerator
    note_placement(name, generation, std::move(places->front()));
    return ensure_started(name, function, generation);
  }
  *places = unclaimed(name, *std::move(places));
  if (places->empty()) return;  // a claim ends
  *places = payable_now(name, function, generation, *std::move(places));
  if (places->empty()) return;
  auto chosen = policy::choose_devices(name, *places, pool_.ledger(), now_);
  if (!chosen) return make_device_room(name, generation, *places);
  const std::vector<domain::DeviceId>& devices = chosen->allocation.devices;
  const bool awaited = std::any_of(devices.begin(), devices.end(), [this](domain::DeviceId id) {
    return turn_.awaited_devices.contains(id);
  });
  // Room that was made is for whoever calls, not for what is held ahead of calls.
  if (awaited && unserved(name, generation).domains == 0) return;
  if (!make_room(name, generation, host_bytes(generation))) return;
  policy::Placement& placed = (*places)[chosen->placement];
  placed.reason = std::move(chosen->reason);
  note_placement(name, generation, std::move(placed));
  start_replica(name, generation, replica_bytes(generation), nullptr, &chosen->allocation);
}

DeviceRoom Brain::device_room(const std::optional<policy::Contender>& contender) const {
  return {pool_.ledger(), replicas_,
          [this, contender](const ReplicaEntry& entry) {
            return !keeps_its_turn(entry, contender, Stays::Replica);
          },
          [this](const ReplicaEntry& entry) { return kept(entry); }, now_};
}

// Those that come nearest to holding it.
void Brain::claim_devices(const std::string& name, const Generation& generation,
                          const policy::Placement& place) {
  const std::optional<Time> since = unserved(name, generation).since;
  if (!since || !policy::has_claim(*since, now_)) return;  // there may be thousands of devices
  claim(name, generation, {.by = name, .devices = device_room().nearest(place)});
}

// Without those that others have a claim to.
std::vector<policy::Placement> Brain::unclaimed(const std::string& name,
                                                std::vector<policy::Placement> places) const {
  const std::vector<domain::DeviceId> claimed = claimed_before(name).devices;
  if (claimed.empty()) return places;
  for (policy::Placement& place : places)
    std::erase_if(place.devices, [&claimed](domain::DeviceId id) {
      return std::find(claimed.begin(), claimed.end(), id) != claimed.end();
    });
  std::erase_if(places, [](const policy::Placement& place) {
    return place.devices.size() < static_cast<std::size_t>(place.count);
  });
  return places;
}

// On the best placement where stopping what is idle is enough; then, after a while, of what is busy
// one gets no new calls. Nothing goes for what is only held ahead of calls.
void Brain::make_device_room(const std::string& name, const Generation& generation,
                             const std::vector<policy::Placement>& places) {
  const bool called = unserved(name, generation).domains > 0;
  if (!called && !coming_generation(functions_.at(name), generation.revision)) return;
  claim_devices(name, generation, places.front());
  const DeviceRoom room = device_room(contender(name, generation));
  for (const policy::Placement& place : places) {
    const std::vector<std::vector<domain::ProcessId>> ways = room.ways_to_make_room(place);
    if (ways.size() < static_cast<std::size_t>(place.count)) continue;
    std::set<domain::ProcessId> gone;  // one may be on several of them
    for (const auto& way : ways) gone.insert(way.begin(), way.end());
    if (called) turn_.awaited_devices.insert(place.devices.begin(), place.devices.end());
    for (const domain::ProcessId id : gone)
      drain(*replicas_.find(id),
            fmt::format("evicted: its {} needed by {}; idle, {}", in_words(place), name,
                        policy::worth_in_words(kept(*replicas_.find(id)))));
    return;
  }
  if (called)
    turn_.awaited_devices.insert(places.front().devices.begin(), places.front().devices.end());
  await_pauses(name, generation);
  if (std::any_of(places.begin(), places.end(),
                  [&room](const policy::Placement& place) { return room.comes_free(place); }))
    return;
  let_one_give_way(name, functions_.at(name), generation,
                   {.what = Scarce::Device, .devices = places.front().devices});
}

// Gives back what it held. True where its start failed, and is worth a try on another device before
// its callers hear of it.
bool Brain::left_device(domain::ProcessId id, const Replica& replica, Ending ending) {
  policy::DeviceLedger& ledger = pool_.ledger();
  if (ledger.allocation(id) == nullptr) return false;
  if (replica.state != domain::State::Loading || ending == Ending::Asked) {
    ledger.release(id);
    return false;
  }
  const std::string& name = replica.function;
  const std::vector<domain::DeviceId> tried = ledger.allocation(id)->devices;
  Generation* generation = generation_of(name, replica.revision);
  ledger.start_failed(id, {name, generation && generation->ready_once}, now_);
  for (const domain::DeviceId one : tried)
    if (const auto until = ledger.quarantined_until(one, now_))
      decide(name, "quarantine",
             fmt::format("{} takes no starts for {}: {} in a row failed", ledger.device(one).name,
                         format_duration(*until - now_), ledger.failed_starts(one)));
  const bool elsewhere_too = ledger.devices_failed_on(name) != static_cast<int>(tried.size());
  if (generation == nullptr || elsewhere_too) return false;
  const auto places = placements(*find(name), *generation);
  const auto other = places ? policy::choose_devices(name, *places, ledger, now_) : std::nullopt;
  if (!other || ledger.has_failed_on(other->allocation.devices.front(), name)) return false;
  decide(name, "retry",
         fmt::format("its start on {} failed: one more try, on another device",
                     ledger.device(tried.front()).name));
  return true;
}

// --- while it runs ---

void Brain::correct_on_device(const ReplicaEntry& entry) {
  const policy::Allocation* on = pool_.ledger().allocation(entry.first);
  if (on == nullptr) return;
  const std::uint64_t count = on->devices.size();
  pool_.ledger().correct(entry.first, (entry.second.memory_bytes + count - 1) / count);
}

// A replica holds more than was foreseen, and its device has less than that: what is idle there
// goes, and nothing starts there meanwhile.
void Brain::relieve_devices() {
  const policy::DeviceLedger& ledger = pool_.ledger();
  if (!ledger.is_anybody_owed()) return;
  const DeviceRoom room = device_room();
  for (std::size_t i = 0; i < ledger.fleet().size(); ++i) {
    const domain::DeviceId id{i};
    if (ledger.owed(id) == 0) continue;
    std::vector<domain::ProcessId> gone;
    if (auto enough = room.in_the_way(id, 0)) {
      gone = *std::move(enough);
    } else {
      for (const domain::ProcessId holder : ledger.holders(id))
        if (replicas_.at(holder).is_resting()) gone.push_back(holder);
    }
    for (const domain::ProcessId holder : gone)
      drain(*replicas_.find(holder), fmt::format("evicted: {} is {} short", ledger.device(id).name,
                                                 format_bytes(ledger.owed(id))));
  }
}

// What this machine has room for, less what the devices have not: growth pushes nobody out.
Brain::Room Brain::room_on_devices(const std::string& name, const Generation& generation,
                                   Room by_host) const {
  if (!is_on_accelerator(generation) || by_host.replicas == 0) return by_host;
  const auto places = placements(functions_.at(name), generation);
  std::uint64_t room = 0;
  for (const policy::Placement& place : places ? *places : std::vector<policy::Placement>{})
    room += policy::room_for(place, pool_.ledger(), now_);
  if (room >= static_cast<std::uint64_t>(by_host.replicas)) return by_host;
  return {static_cast<int>(room), "its devices are taken"};
}

std::vector<DeviceView> Brain::devices() const {
  const policy::DeviceLedger& ledger = pool_.ledger();
  std::vector<DeviceView> views;
  for (std::size_t i = 0; i < ledger.fleet().size(); ++i) {
    const domain::DeviceId id{i};
    const domain::Device& device = ledger.device(id);
    views.push_back({.device = device,
                     .reserved_bytes = device.is_cpu() ? reserved_bytes() : ledger.reserved(id),
                     .health = ledger.health(id, now_),
                     .failed_starts = ledger.failed_starts(id),
                     .quarantined_until = ledger.quarantined_until(id, now_)});
    std::set<std::string> names;
    for (const domain::ProcessId holder : ledger.holders(id))
      names.insert(replicas_.at(holder).function);
    if (device.is_cpu())
      for (const auto& [process, replica] : replicas_)
        if (!replica.is_spare() && ledger.allocation(process) == nullptr)
          names.insert(replica.function);
    views.back().functions.assign(names.begin(), names.end());
  }
  return views;
}

}  // namespace glowplug::control
