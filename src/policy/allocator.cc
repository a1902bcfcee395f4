#include "policy/allocator.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/units.h"
#include "domain/errors.h"

namespace glowplug::policy {
namespace {

using domain::Device;
using domain::DeviceId;
using domain::DeviceWish;
using domain::same_device;

using Kind = UsableDevices::Kind;

std::uint64_t part_of(std::uint64_t bytes, int count) {
  const auto parts = static_cast<std::uint64_t>(count);
  return bytes / parts + (bytes % parts == 0 ? 0 : 1);
}

bool holds(const Kind& kind, std::uint64_t bytes, int count) {
  return kind.devices.size() >= static_cast<std::size_t>(count) &&
         part_of(bytes, count) <= kind.memory_bytes;
}

// The smallest first.
std::vector<Kind> kinds_of(std::span<const Device> fleet, std::span<const DeviceId> ids) {
  std::vector<Kind> kinds;
  for (const DeviceId id : ids) {
    const Device& device = fleet[id.value];
    const auto alike = std::find_if(kinds.begin(), kinds.end(), [&device](const Kind& kind) {
      return same_device(kind.type, device.type) && kind.memory_bytes == device.memory_bytes;
    });
    if (alike != kinds.end())
      alike->devices.push_back(id);
    else
      kinds.push_back({device.type, device.memory_bytes, {id}});
  }
  std::stable_sort(kinds.begin(), kinds.end(),
                   [](const Kind& a, const Kind& b) { return a.memory_bytes < b.memory_bytes; });
  return kinds;
}

bool answers(const DeviceWish& wish, const Device& device, int accelerator) {
  if (device.is_cpu()) return same_device(wish.name, domain::kCpu);
  const std::string_view name(device.name);
  const std::size_t colon = name.rfind(':');
  if (wish.is_gpu()) return !wish.number || *wish.number == accelerator;
  const bool of_row = same_device(name.substr(0, colon), wish.name);
  if (!wish.number) return of_row || same_device(device.type, wish.name);
  return of_row && domain::parse_device_number(name.substr(colon + 1)) == wish.number;
}

std::vector<DeviceId> asked_for(const DeviceWish& wish, std::span<const Device> fleet,
                                std::span<const DeviceId> usable) {
  std::vector<DeviceId> ids;
  int accelerator = 0;
  for (const DeviceId id : usable) {
    const Device& device = fleet[id.value];
    if (answers(wish, device, accelerator)) ids.push_back(id);
    accelerator += device.is_cpu() ? 0 : 1;
  }
  return ids;
}

std::string times(std::string_view type, int count) {
  return count == 1 ? std::string(type) : fmt::format("{} x{}", type, count);
}

// "4 T4 with 17.2 GB, 1 CPU with 6.9 GB", the largest first.
std::string in_words(std::vector<Kind> kinds) {
  std::reverse(kinds.begin(), kinds.end());
  std::string words;
  for (const Kind& kind : kinds)
    words += fmt::format("{}{} {} with {}", words.empty() ? "" : ", ", kind.devices.size(),
                         kind.type, format_bytes(kind.memory_bytes));
  return words.empty() ? "none" : words;
}

class Chooser final {
 public:
  Chooser(const DeviceAsk& ask, std::span<const Device> fleet, const UsableDevices& usable)
      : ask_(ask), fleet_(fleet), usable_(usable) {
    size_ = ask.weight_bytes > 0 ? ask.weight_bytes : kUnknownModel;
    rule_ = device_rule(size_);
  }

  Result<std::vector<Placement>> choose() {
    const std::vector<Kind>& kinds = usable_.accelerators;
    const bool any_gpu = ask_.wish.is_gpu() && !ask_.wish.number && !ask_.wish.count;
    if (!ask_.wish.is_auto() && (!any_gpu || kinds.empty())) return wished();
    if (ask_.demand == Demand::Rare)
      for (const Kind& kind : kinds) add(kind, 1, "rarely called: the smallest device that fits");
    by_rule(kinds);
    if (made_.empty() && !any_gpu)
      for (const Kind& kind : usable_.cpu)
        add(kind, 1,
            kinds.empty() ? std::string("there is no accelerator that it could use")
                          : fmt::format("no accelerator here holds it: {}", in_words(kinds)));
    if (made_.empty())
      return too_large(any_gpu ? kinds : kinds_of(fleet_, usable_.all), rule_.count);
    return std::move(made_);
  }

 private:
  // Says how large it is, and how that was known.
  std::string size() const {
    return ask_.weight_bytes > 0
               ? format_bytes(size_)
               : fmt::format("of unknown size, counted as {}", format_bytes(size_));
  }

  void by_rule(const std::vector<Kind>& kinds) {
    const std::string wants = fmt::format("{}: {} by size", size(), times(rule_.type, rule_.count));
    const auto is_preferred = [this](const Kind& kind) {
      return same_device(kind.type, rule_.type);
    };
    for (const Kind& kind : kinds)
      if (is_preferred(kind)) add(kind, rule_.count, wants);
    const bool there = std::any_of(kinds.begin(), kinds.end(), is_preferred);
    const std::string instead = fmt::format("{}, {}; the next that fits", wants,
                                            !made_.empty() ? "which is taken"
                                            : there        ? "which does not hold it"
                                                           : "which is not here");
    for (int count = 1; count <= rule_.count; ++count)
      for (const Kind& kind : kinds) add(kind, count, instead);
  }

  void add(const Kind& kind, int count, const std::string& why) {
    if (!holds(kind, ask_.bytes, count)) return;
    for (const Placement& other : made_)
      if (other.type == kind.type && other.memory_bytes == kind.memory_bytes &&
          other.count == count)
        return;
    const std::uint64_t each = part_of(ask_.bytes, count);
    made_.push_back(
        {.type = kind.type,
         .memory_bytes = kind.memory_bytes,
         .count = count,
         .bytes_each = each,
         .reason = fmt::format("{} ({} of {}{})", why, format_bytes(each),
                               format_bytes(kind.memory_bytes), count > 1 ? " on each" : ""),
         .devices = kind.devices});
  }

  Result<std::vector<Placement>> wished() {
    const std::vector<DeviceId> ids = asked_for(ask_.wish, fleet_, usable_.all);
    std::string text = ask_.wish.name;
    if (ask_.wish.number) text += fmt::format(":{}", *ask_.wish.number);
    const int count = ask_.wish.count.value_or(1);
    if (ids.size() < static_cast<std::size_t>(count)) {
      std::string there;
      for (const DeviceId id : usable_.all)
        there += (there.empty() ? "" : ", ") + fleet_[id.value].name;
      return Error{std::string(domain::error::kUnsupportedValue),
                   fmt::format("`{}` asks for {} with resources.device, and of that {}; say auto, "
                               "or one of {}",
                               ask_.function, times(text, count),
                               ids.empty() ? std::string("there is none that it could use")
                                           : fmt::format("there are {}", ids.size()),
                               there.empty() ? "none" : there),
                   "resources.device"};
    }
    const std::vector<Kind> kinds = kinds_of(fleet_, ids);
    for (const Kind& kind : kinds)
      add(kind, count, fmt::format("resources.device says {}", times(text, count)));
    if (made_.empty()) return too_large(kinds, count);
    return std::move(made_);
  }

  Error too_large(const std::vector<Kind>& kinds, int count) const {
    const std::string needs =
        fmt::format("`{}` needs {} and ", ask_.function, format_bytes(ask_.bytes));
    if (kinds.empty())
      return {std::string(domain::error::kDoesNotFit),
              needs + "there is no device that it could use", "resources.device"};
    const Kind& largest = kinds.back();
    const std::string together =
        count > 1 ? fmt::format(", and no {} alike hold it together", count) : "";
    const bool is_cpu = same_device(largest.type, domain::kCpu);
    return {
        std::string(domain::error::kDoesNotFit),
        fmt::format("{}the largest device {} is {} with {}{}; lower context or slots, choose a "
                    "smaller file{}",
                    needs, ask_.wish.is_auto() ? "here" : "that it asks for",
                    fleet_[largest.devices.front().value].name, format_bytes(largest.memory_bytes),
                    together, is_cpu ? ", or give the server more with --memory" : spread(kinds)),
        "resources.device"};
  }

  // The fewest devices alike that would hold it, where there are so many.
  std::string spread(const std::vector<Kind>& kinds) const {
    for (auto kind = kinds.rbegin(); kind != kinds.rend(); ++kind)
      for (int count = 2; static_cast<std::size_t>(count) <= kind->devices.size(); ++count)
        if (holds(*kind, ask_.bytes, count))
          return fmt::format(", or spread it with resources.device: {}", times(kind->type, count));
    return {};
  }

  const DeviceAsk& ask_;
  std::span<const Device> fleet_;
  const UsableDevices& usable_;
  std::uint64_t size_ = 0;
  DeviceRule rule_;
  std::vector<Placement> made_;
};

}  // namespace

DeviceRule device_rule(std::uint64_t weight_bytes) {
  if (weight_bytes <= kSmallModelMax) return {domain::kT4, 1};
  if (weight_bytes <= kMediumModelMax) return {domain::kA10G, 1};
  return {domain::kA100, 2};
}

UsableDevices usable_devices(std::span<const Device> fleet, std::vector<DeviceId> ids) {
  std::vector<DeviceId> accelerators, cpu;
  for (const DeviceId id : ids) (fleet[id.value].is_cpu() ? cpu : accelerators).push_back(id);
  return {.all = std::move(ids),
          .accelerators = kinds_of(fleet, accelerators),
          .cpu = kinds_of(fleet, cpu)};
}

Result<std::vector<Placement>> placements(const DeviceAsk& ask, std::span<const Device> fleet,
                                          const UsableDevices& usable) {
  return Chooser(ask, fleet, usable).choose();
}

void CallRate::begin(Time now) {
  if (!since_) since_ = now;
}

void CallRate::note_call(Time now) {
  begin(now);
  const std::int64_t window = (now - *since_) / kRareWindow;
  if (window != window_) {
    before_ = window == window_ + 1 ? calls_ : 0;
    calls_ = 0;
    window_ = window;
  }
  ++calls_;
}

Demand CallRate::demand(Time now) const {
  if (!since_ || now - *since_ < kRareWindow) return Demand::Usual;
  const std::int64_t window = (now - *since_) / kRareWindow;
  const int lately = window == window_ ? calls_ + before_ : window == window_ + 1 ? calls_ : 0;
  return lately < kRareCalls ? Demand::Rare : Demand::Usual;
}

namespace {

// Enough of them, the fullest first; empty where there are too few. Where `function` has failed to
// start is left out if it is given.
struct WithRoom {
  std::vector<DeviceId> ids;
  bool any_left_out = false;
};
WithRoom with_room(const Placement& wanted, const DeviceLedger& ledger, Time now,
                   const std::string* function) {
  const auto count = static_cast<std::size_t>(wanted.count);
  WithRoom found;
  for (const DeviceId id : wanted.devices) {
    const std::uint64_t free = ledger.free(id);
    if (free < wanted.bytes_each || ledger.owed(id) > 0 || !ledger.takes_starts(id, now)) continue;
    if (function != nullptr && ledger.has_failed_on(id, *function)) {
      found.any_left_out = true;
      continue;
    }
    const auto at = std::upper_bound(
        found.ids.begin(), found.ids.end(), free,
        [&ledger](std::uint64_t bytes, DeviceId other) { return bytes < ledger.free(other); });
    if (found.ids.size() == count && at == found.ids.end()) continue;
    found.ids.insert(at, id);
    if (found.ids.size() > count) found.ids.pop_back();
  }
  if (found.ids.size() < count) found.ids.clear();
  return found;
}

}  // namespace

std::uint64_t room_for(const Placement& placement, const DeviceLedger& ledger, Time now) {
  std::uint64_t parts = 0;
  for (const DeviceId id : placement.devices) {
    if (!ledger.takes_starts(id, now) || ledger.free(id) < placement.bytes_each) continue;
    const bool on_trial = ledger.health(id, now) == domain::DeviceHealth::OnTrial;
    const std::uint64_t most = ledger.free(id) / std::max<std::uint64_t>(1, placement.bytes_each);
    parts += placement.count > 1 || on_trial ? 1 : most;  // of several at once one part each
  }
  return parts / static_cast<std::uint64_t>(placement.count);
}

std::optional<Chosen> choose_devices(const std::string& function,
                                     std::span<const Placement> placements,
                                     const DeviceLedger& ledger, Time now) {
  bool any_left_out = true;
  for (const std::string* const not_failed :
       {&function, static_cast<const std::string*>(nullptr)}) {
    if (!std::exchange(any_left_out, false)) break;
    for (std::size_t i = 0; i < placements.size(); ++i) {
      const Placement& one = placements[i];
      WithRoom found = with_room(one, ledger, now, not_failed);
      any_left_out |= found.any_left_out;
      const std::vector<DeviceId>& ids = found.ids;
      if (ids.empty()) continue;
      std::string on;
      for (const DeviceId id : ids)
        on += fmt::format("{}{}, {} left", on.empty() ? "" : "; ", ledger.device(id).name,
                          format_bytes(ledger.free(id) - one.bytes_each));
      return Chosen{.placement = i,
                    .allocation = {.devices = std::move(found.ids), .bytes_each = one.bytes_each},
                    .reason = fmt::format("{}: {}", one.reason, on)};
    }
  }
  return std::nullopt;
}

}  // namespace glowplug::policy
