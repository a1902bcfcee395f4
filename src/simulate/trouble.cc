#include "simulate/trouble.h"

#include <utility>

#include "simulate/seconds.h"

namespace glowplug::simulate {
namespace {

using namespace std::chrono_literals;

constexpr Duration kAgainAfter = 200ms;         // a fault that found nothing to do it to
constexpr std::uint64_t kWallSpan = 48 * 3600;  // seconds, back and forth
constexpr double kBusyShare =
    0.8;  // the rest is for those that found nothing, and for more of them
constexpr int kMore = 3;

}  // namespace

Trouble::Trouble(World& world, const TroubleOptions& options)
    : world_(world),
      options_(options),
      random_(options.seed),
      heals_at_(world.now() + options.length) {
  const double length = kBusyShare * to_seconds(options.length);
  for (int i = 0; i < options.faults + kMore; ++i)
    due_.put(world.now() + from_seconds(length * random_.unit()), {.what = Due::What::Fault});
  for (int i = 0; i < options.acts; ++i)
    due_.put(world.now() + from_seconds(length * random_.unit()), {.what = Due::What::Act});
  due_.put(heals_at_, {.what = Due::What::AllHeals});
}

std::optional<Time> Trouble::next() const { return due_.next(); }

void Trouble::act() {
  const Due due = due_.take();
  switch (due.what) {
    case Due::What::Fault:
      if (healed_) return;
      if (fault())
        ++faults_;
      else
        due_.put(world_.now() + kAgainAfter, due);
      return;
    case Due::What::Act:
      if (!healed_) operate();
      return;
    case Due::What::Redeploy:
      world_.deploy(domain::Manifest(world_.manifest(due.function)));
      return;
    case Due::What::DiskHeals: return world_.slow_disk(1);
    case Due::What::PostHeals: return world_.set_post({});
    case Due::What::CallsHeal: return world_.set_deadly(due.function, false);
    case Due::What::MemoryHeals: return world_.post(control::MemorySetAside{0});
    case Due::What::AllHeals: return heal();
  }
}

void Trouble::heal() {
  healed_ = true;
  world_.slow_disk(1);
  world_.set_post({});
  world_.fail_prepares(0);
  for (std::uint32_t i = 0; i < world_.functions(); ++i) {
    world_.fail_starts(i, 0);
    world_.poison(i, 0);
    world_.set_deadly(i, false);
  }
  world_.mend_devices();
  world_.post(control::MemorySetAside{0});
}

std::uint32_t Trouble::any_function() {
  return static_cast<std::uint32_t>(random_.below(world_.functions()));
}

bool Trouble::fault() {
  if (world_.functions() == 0) return false;
  switch (random_.below(15)) {
    case 0:
    case 1: return crash_one(World::Kind::Replica);
    case 2: return crash_one(World::Kind::Template);
    case 3: return stall_one();
    case 4:
      world_.slow_disk(random_.between(2, 50));
      world_.drop_page_cache();
      due_.put(world_.now() + random_.between(1, 60) * 1s, {.what = Due::What::DiskHeals});
      return true;
    case 5: world_.fail_starts(any_function(), random_.between(1, 3)); return true;
    case 6:
      world_.lose_model(any_function());
      world_.fail_prepares(random_.between(0, 2));
      return true;
    case 7: return bad_post();
    case 8: return take_memory();
    case 9: return outgrow_one();
    case 10: return step_wall();
    case 11: return break_device() || crash_one(World::Kind::Replica);
    case 12: world_.poison(any_function(), random_.between(1, 5)); return true;
    case 13: return make_deadly();
    default: return crash_one(World::Kind::Replica);
  }
}

bool Trouble::crash_one(World::Kind kind) {
  const std::vector<domain::ProcessId> there = world_.processes(kind);
  if (there.empty()) return false;
  const auto death = static_cast<World::Death>(random_.below(3));
  return world_.crash(there[random_.below(there.size())], death, "crashed");
}

bool Trouble::stall_one() {
  const std::vector<domain::ProcessId> there = world_.processes(World::Kind::Replica);
  if (there.empty()) return false;
  return world_.stall(there[random_.below(there.size())], random_.between(1, 30) * 1s);
}

bool Trouble::outgrow_one() {
  const std::vector<domain::ProcessId> there = world_.processes(World::Kind::Replica);
  if (there.empty()) return false;
  const std::uint64_t most = std::max<std::uint64_t>(2, options_.memory_bytes / 4);
  return world_.outgrow(there[random_.below(there.size())], 1 + random_.below(most));
}

bool Trouble::bad_post() {
  world_.set_post({.late = 0.3 * random_.unit(),
                   .lost = 0.1 * random_.unit(),
                   .doubled = 0.3 * random_.unit(),
                   .late_by = random_.between(1, 3000) * 1ms});
  due_.put(world_.now() + random_.between(1, 20) * 1s, {.what = Due::What::PostHeals});
  return true;
}

bool Trouble::take_memory() {
  const std::uint64_t most = std::max<std::uint64_t>(1, options_.memory_bytes * 3 / 4);
  world_.post(control::MemorySetAside{random_.below(most)});
  due_.put(world_.now() + random_.between(1, 60) * 1s, {.what = Due::What::MemoryHeals});
  return true;
}

bool Trouble::step_wall() {
  const auto by = std::chrono::seconds(static_cast<std::int64_t>(random_.below(2 * kWallSpan))) -
                  std::chrono::seconds(kWallSpan);
  world_.step_wall(std::chrono::duration_cast<std::chrono::milliseconds>(by));
  return true;
}

bool Trouble::break_device() {
  if (world_.devices().empty()) return false;
  world_.break_device({random_.below(world_.devices().size())}, random_.between(1, 60) * 1s);
  return true;
}

// All calls of a function kill what runs them, for a while.
bool Trouble::make_deadly() {
  const std::uint32_t function = any_function();
  world_.set_deadly(function, true);
  due_.put(world_.now() + random_.between(1, 40) * 1s,
           {.what = Due::What::CallsHeal, .function = function});
  return true;
}

void Trouble::operate() {
  if (world_.functions() == 0) return;
  ++acts_;
  const std::uint32_t function = any_function();
  const std::string name = world_.name_of(function);
  switch (random_.below(9)) {
    case 0: return world_.post(control::StopWanted{name});
    case 1: {
      const int count = random_.between(0, 3);
      return world_.post(control::WarmWanted{name, count, random_.between(1, 120) * 1s});
    }
    case 2: {
      const auto tier = static_cast<domain::Tier>(random_.between(1, 4));
      if (tier == domain::Tier::Asleep) return;
      return world_.post(control::PreloadWanted{name, tier, random_.between(1, 120) * 1s});
    }
    case 3:
      world_.post(control::FunctionDeleted{name});
      due_.put(world_.now() + random_.between(0, 3000) * 1ms,
               {.what = Due::What::Redeploy, .function = function});
      return;
    case 4: {
      domain::Manifest other = world_.manifest(function);
      other.context = std::max(64, other.context / 2);
      return world_.split(function, other, random_.between(1, 50));
    }
    case 5: {
      domain::Manifest tuned = world_.manifest(function);
      tuned.tuning.batch = 64 << random_.between(0, 3);
      return world_.post(control::FunctionTuned{tuned, world_.revision(function)});
    }
    default: return deploy_changed(function);
  }
}

void Trouble::deploy_changed(std::uint32_t function) {
  domain::Manifest manifest = world_.manifest(function);
  switch (random_.below(4)) {
    case 0: manifest.keep_alive = random_.between(0, 60) * 1s; break;
    case 1: manifest.context = 64 * random_.between(4, 32); break;
    case 2: manifest.slots = random_.between(1, 8); break;
    default: break;  // the same again
  }
  world_.deploy(manifest);
}

}  // namespace glowplug::simulate
