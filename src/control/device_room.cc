#include "control/device_room.h"

#include <algorithm>

namespace glowplug::control {

// Now, or once the answers are over for which no new call is taken.
std::uint64_t DeviceRoom::coming_free(domain::DeviceId id) const {
  std::uint64_t coming = ledger_.free(id);
  for (const domain::ProcessId holder : ledger_.holders(id))
    if (replicas_.at(holder).state == domain::State::Draining)
      coming += ledger_.allocation(holder)->bytes_each;
  return coming;
}

bool DeviceRoom::comes_free(const policy::Placement& place) const {
  int enough = 0;
  for (const domain::DeviceId id : place.devices)
    enough +=
        ledger_.takes_starts(id, now_) && coming_free(id) >= place.bytes_each + ledger_.owed(id);
  return enough >= place.count;
}

std::vector<domain::DeviceId> DeviceRoom::nearest(const policy::Placement& place) const {
  std::vector<std::pair<std::uint64_t, domain::DeviceId>> devices;
  for (const domain::DeviceId id : place.devices)
    if (ledger_.takes_starts(id, now_)) devices.emplace_back(coming_free(id), id);
  const auto fuller = [](const auto& a, const auto& b) {
    return std::pair(b.first, a.second) < std::pair(a.first, b.second);
  };
  std::sort(devices.begin(), devices.end(), fuller);
  std::vector<domain::DeviceId> chosen;
  for (const auto& [coming, id] : devices)
    if (chosen.size() < static_cast<std::size_t>(place.count)) chosen.push_back(id);
  return chosen;
}

template <typename Visit>
std::uint64_t DeviceRoom::free_unless_stopped(domain::DeviceId id, const Visit& visit) const {
  std::uint64_t coming = ledger_.free(id);
  for (const domain::ProcessId holder : ledger_.holders(id)) {
    const BrainState::ReplicaEntry& entry = *replicas_.find(holder);
    const BrainState::Replica& replica = entry.second;
    const std::uint64_t share = ledger_.allocation(holder)->bytes_each;
    if (replica.state == domain::State::Draining)
      coming += replica.in_flight == 0 ? share : 0;
    else if (replica.is_resting() && may_go_(entry))
      visit(entry, share);
  }
  return coming;
}

// At least so many of what is idle there would have to stop for so many bytes; nothing where all of
// it is not enough.
std::optional<std::size_t> DeviceRoom::fewest_in_the_way(domain::DeviceId id,
                                                         std::uint64_t bytes) const {
  const std::uint64_t wanted = bytes + ledger_.owed(id);
  std::uint64_t idle = 0, largest = 0;
  const std::uint64_t coming =
      free_unless_stopped(id, [&](const BrainState::ReplicaEntry&, std::uint64_t share) {
        idle += share;
        largest = std::max(largest, share);
      });
  if (wanted <= coming) return 0;
  if (wanted > coming + idle) return std::nullopt;
  return (wanted - coming + largest - 1) / largest;
}

std::optional<std::vector<domain::ProcessId>> DeviceRoom::in_the_way(domain::DeviceId id,
                                                                     std::uint64_t bytes) const {
  const std::uint64_t wanted = bytes + ledger_.owed(id);
  std::vector<policy::Kept> candidates;
  const std::uint64_t coming =
      free_unless_stopped(id, [&](const BrainState::ReplicaEntry& entry, std::uint64_t share) {
        candidates.push_back(worth_(entry));
        candidates.back().bytes = share;
      });
  if (wanted <= coming) return std::vector<domain::ProcessId>{};
  const auto chosen = policy::choose_evictions(candidates, wanted - coming);
  if (!chosen) return std::nullopt;
  std::vector<domain::ProcessId> ids;
  for (const policy::Kept& one : *chosen) ids.push_back(one.process);
  return ids;
}

// There may be thousands, so only those that can be among them are looked at closely.
std::vector<std::vector<domain::ProcessId>> DeviceRoom::ways_to_make_room(
    const policy::Placement& place) const {
  struct Way {
    std::size_t stops = 0, at = 0;  // at least so many; its place in the list
    std::vector<domain::ProcessId> gone = {};
    auto rank() const { return std::pair(stops, at); }
  };
  const auto before = [](const Way& a, const Way& b) { return a.rank() < b.rank(); };
  std::vector<Way> possible, best;
  for (std::size_t i = 0; i < place.devices.size(); ++i)
    if (ledger_.takes_starts(place.devices[i], now_))
      if (const auto stops = fewest_in_the_way(place.devices[i], place.bytes_each))
        possible.push_back({.stops = *stops, .at = i});
  std::sort(possible.begin(), possible.end(), before);
  const auto count = static_cast<std::size_t>(place.count);
  for (const Way& one : possible) {
    if (best.size() == count && best.back().rank() < one.rank()) break;
    auto gone = in_the_way(place.devices[one.at], place.bytes_each);
    if (!gone) continue;
    Way way{.stops = gone->size(), .at = one.at, .gone = *std::move(gone)};
    best.insert(std::upper_bound(best.begin(), best.end(), way, before), std::move(way));
    if (best.size() > count) best.pop_back();
  }
  std::vector<std::vector<domain::ProcessId>> ways;
  for (Way& way : best) ways.push_back(std::move(way.gone));
  return ways;
}

}  // namespace glowplug::control
