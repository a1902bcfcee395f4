// A world for the brain's tests: drives a Brain as the live driver does and keeps what it asked
// for.
//
// Thread: one test.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/units.h"
#include "control/brain.h"

namespace glowplug::control {

using namespace std::chrono_literals;

inline constexpr std::uint64_t kMB = 1'000'000;

class World {
 public:
  explicit World(std::uint64_t memory_mb = 1000, std::uint64_t template_mb = 0, int spares = 0)
      : World({.memory_bytes = memory_mb * kMB,
               .template_bytes = template_mb * kMB,
               .spares = spares,
               .cores = 4}) {}
  explicit World(BrainOptions options) : brain(options), sleepless(unresting(options)) {}

  void use(const BrainOptions& options) {
    brain = Brain(options);
    sleepless = Brain(unresting(options));
  }

  void post(const Event& event) {
    const WallTime at = wall + std::chrono::floor<std::chrono::milliseconds>(now - Time(1000s));
    last = brain.handle(event, now, at);
    const Effects all = sleepless.handle(event, now, at);
    EXPECT_EQ(told(last), told(all)) << "a function rests that should not";
    const std::size_t assigned_before = assigned.size();
    for (const Effect& effect : last.list)
      std::visit([this](const auto& one) { keep(one); }, effect);
    for (std::size_t i = assigned_before; takes_spares && i < assigned.size(); ++i)
      post(ReplicaAssigned{assigned[i].replica});
  }
  // Lets time pass as a timer would: ticks at every wake-up until `by` is over.
  void pass(Duration by) {
    const Time end = now + by;
    while (last.wake_at && *last.wake_at <= end) {
      now = std::max(now, *last.wake_at);
      post(Tick{});
    }
    now = end;
  }

  domain::Manifest manifest(const std::string& name, std::uint64_t memory_mb = 100) const {
    domain::Manifest made;
    made.name = name;
    made.engine.kind = domain::EngineKind::Fake;
    made.resources.memory_bytes = memory_mb * kMB;
    return made;
  }
  void deploy(const domain::Manifest& made, int revision = 1) {
    post(FunctionPut{made, revision});
    post(ModelPrepared{made.name, revision, {}});
  }
  domain::CallId call(const std::string& name, int weight = 1,
                      std::optional<Duration> keep_alive = {}, domain::CacheDomain domain = {}) {
    const domain::CallId id{++calls};
    post(CallArrived{id, name, weight, now + 3600s, keep_alive, std::move(domain)});
    return id;
  }
  void ready(std::size_t started_index) { post(ProcessReady{started.at(started_index).process}); }
  // One call from zero, answered.
  void serve(const std::string& name) {
    const domain::CallId id = call(name);
    ready(started.size() - 1);
    post(CallEnded{id});
  }
  domain::State state(const std::string& name) const { return brain.function(name)->state; }

  void keep(const PrepareModel& one) { prepared.push_back(one); }
  void keep(const ReadModel& one) { read.push_back(one); }
  void keep(const StartProcess& one) { started.push_back(one); }
  void keep(const AssignReplica& one) { assigned.push_back(one); }
  void keep(const BindReplica& one) { bound.push_back(one); }
  void keep(const KeepState& one) { kept.push_back(one.replica); }
  void keep(const SleepReplica& one) { put_to_sleep.push_back(one); }
  void keep(const WakeReplica& one) { woken.push_back(one); }
  void keep(const SetThreads& one) { set.emplace_back(one.process.value, one.threads); }
  void keep(const FreezeReplica& one) { frozen.emplace_back(one.replica.value, one.frozen); }
  void keep(const KillProcess& one) { killed.push_back(one.process); }
  void keep(const StopProcess& one) { stopped.push_back(one.process); }
  void keep(const GrantCall& one) { granted.push_back(one); }
  void keep(const RefuseCall& one) { refused.push_back(one); }
  void keep(const MemoryLearned& one) { learned.push_back(one); }
  void keep(const Decision& one) { decisions.push_back(one); }

  static BrainOptions unresting(BrainOptions options) {
    options.rests = false;
    return options;
  }
  static std::vector<std::string> told(const Effects& effects) {
    std::vector<std::string> lines{
        std::to_string(effects.list.size()),
        effects.wake_at ? std::to_string(to_seconds(effects.wake_at->time_since_epoch()))
                        : "no timer"};
    for (const Effect& effect : effects.list)
      if (const auto* one = std::get_if<Decision>(&effect))
        lines.push_back(one->function + " " + one->decision + ": " + one->reason);
      else if (const auto* threads = std::get_if<SetThreads>(&effect))
        lines.push_back(std::to_string(threads->process.value) + " gets threads " +
                        std::to_string(threads->threads));
      else if (const auto* freeze = std::get_if<FreezeReplica>(&effect))
        lines.push_back(std::to_string(freeze->replica.value) +
                        (freeze->frozen ? " stands still" : " goes on"));
    return lines;
  }

  Brain brain;
  Brain sleepless;  // in whose turns no function rests; it decides the same
  Time now{1000s};
  WallTime wall{};  // at that moment
  Effects last;
  std::uint64_t calls = 0;
  std::vector<PrepareModel> prepared;
  std::vector<ReadModel> read;
  std::vector<StartProcess> started;
  std::vector<AssignReplica> assigned;
  bool takes_spares = true;  // at once, as it does while the model's file is as it was
  std::vector<BindReplica> bound;
  std::vector<SleepReplica> put_to_sleep;
  std::vector<WakeReplica> woken;
  std::vector<domain::ProcessId> stopped, killed, kept;
  std::vector<std::pair<std::uint64_t, int>> set;      // threads, by process
  std::vector<std::pair<std::uint64_t, bool>> frozen;  // or not any more, by process
  std::vector<GrantCall> granted;
  std::vector<RefuseCall> refused;
  std::vector<MemoryLearned> learned;
  std::vector<Decision> decisions;
};

}  // namespace glowplug::control
