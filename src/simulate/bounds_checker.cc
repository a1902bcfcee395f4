// Memory and everything else that has a bound: simulate/checkers.h.
#include <algorithm>
#include <unordered_map>

#include <fmt/format.h>

#include "base/units.h"
#include "simulate/checkers.h"

namespace glowplug::simulate {
namespace {

constexpr int kWakesAtOnceMax = 100;

class MemoryChecker final : public Checker {
 public:
  explicit MemoryChecker(std::uint64_t memory_bytes) : memory_(memory_bytes) {}

  void turned(const Turn& turn, Verdict& verdict) override {
    const bool raises = std::holds_alternative<control::MemoryMeasured>(turn.event) ||
                        std::holds_alternative<control::MemorySetAside>(turn.event);
    const bool starts = std::any_of(
        turn.effects.list.begin(), turn.effects.list.end(),
        [](const auto& effect) { return std::holds_alternative<control::StartProcess>(effect); });
    if (turn.reserved_bytes > memory_ &&
        (starts || (!raises && turn.reserved_bytes > std::max(memory_, before_))))
      verdict.fail(
          turn.now, "memory",
          fmt::format("{} are reserved of {}, {} before", format_bytes(turn.reserved_bytes),
                      format_bytes(memory_), format_bytes(before_)));
    if (turn.held_bytes > turn.reserved_bytes + turn.outgrown_bytes)
      verdict.fail(turn.now, "memory",
                   fmt::format("{} are held, {} of them unforeseen, and {} reserved",
                               format_bytes(turn.held_bytes), format_bytes(turn.outgrown_bytes),
                               format_bytes(turn.reserved_bytes)));
    before_ = turn.reserved_bytes;
  }

 private:
  std::uint64_t memory_, before_ = 0;
};

class BoundsChecker final : public Checker {
 public:
  void turned(const Turn& turn, Verdict& verdict) override {
    if (const auto* put = std::get_if<control::FunctionPut>(&turn.event))
      queues_[put->manifest.name] = put->manifest.limits.queue;
    check_wakes(turn, verdict);
    for (const control::Effect& effect : turn.effects.list) {
      if (const auto* start = std::get_if<control::StartProcess>(&effect);
          start != nullptr && start->role == control::Role::Replica)
        check_replicas(turn, start->manifest.name, start->revision, verdict);
      if (const auto* assign = std::get_if<control::AssignReplica>(&effect))
        check_replicas(turn, assign->function, std::nullopt, verdict);
    }
  }

  void compare(const std::vector<control::FunctionView>& views, Time now,
               Verdict& verdict) override {
    for (const control::FunctionView& view : views) {
      const int most = std::max(queues_[view.manifest.name], view.manifest.limits.queue);
      if (view.waiting > most)
        verdict.fail(now, "bounds",
                     fmt::format("{} calls wait for {}, and limits.queue is {}", view.waiting,
                                 view.manifest.name, most));
    }
  }

 private:
  void check_wakes(const Turn& turn, Verdict& verdict) {
    const bool again = std::holds_alternative<control::Tick>(turn.event) && turn.now == tick_at_;
    wakes_ = again ? wakes_ + 1 : 0;
    tick_at_ = turn.now;
    if (wakes_ > kWakesAtOnceMax)
      verdict.fail(turn.now, "bounds",
                   fmt::format("the brain wants to be woken at once, {} times", wakes_));
  }

  static void check_replicas(const Turn& turn, const std::string& name, std::optional<int> revision,
                             Verdict& verdict) {
    const auto view = turn.brain.function(name);
    if (!view) return;
    std::unordered_map<int, int> live;
    for (const control::ReplicaView& one : view->replicas)
      if (one.state != domain::State::Draining) ++live[one.revision];
    const int most = std::max(1, view->manifest.scale.max);
    for (const auto& [of, count] : live)
      if (count > most && (!revision || of == *revision))
        verdict.fail(
            turn.now, "bounds",
            fmt::format("{} replicas of {} {}, and scale.max is {}", count, name, of, most));
  }

  std::unordered_map<std::string, int> queues_;
  int wakes_ = 0;
  Time tick_at_{};
};

}  // namespace

std::unique_ptr<Checker> make_memory_checker(std::uint64_t memory_bytes) {
  return std::make_unique<MemoryChecker>(memory_bytes);
}
std::unique_ptr<Checker> make_bounds_checker() { return std::make_unique<BoundsChecker>(); }

}  // namespace glowplug::simulate
