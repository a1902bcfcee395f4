// What must hold in every world, whatever happens in it, judged by what passes between brain and
// world alone: the checkers keep books of their own and look into the brain only to compare.
//
//   calls      each is granted or refused once, by its deadline, first come first served within a
//              function and tenant, and ends once; those that wait are those the brain knows
//   processes  each has one state and one number of its own; a call goes only to a replica that is
//              ready, awake and has a slot; nothing with a call in flight is stopped or put to
//              sleep; one cache domain at a time, and no call of another; a call whose replica died
//              has the next to itself; what the brain counts is what is there
//   memory     reserved is no more than there is, unless a measurement or somebody else took it;
//              then nothing starts. Held is no more than reserved
//   devices    with what starts on one, those there hold no more than it has, as far as they are
//              known; what is promised of it is no less than they hold, no more than they may come
//              to, and to those that are there; held is no more than it has
//   budgets    what the replicas of a function, and of all, cost together, and what they are known
//              to hold, is within its budget as it was put whenever one more starts; but for the
//              first of a revision that takes over
//   bounds     replicas up to scale.max: what is there beyond takes no more calls, and goes as soon
//              as it has none; those of scale.min stay while nobody needs their place; waiting
//              calls up to limits.queue, no endless waking
//   fairness   where others have all the replicas that a function may have, one of these takes no
//              more calls once a caller without one has waited for a turn; slots and new replicas
//              that a waiting caller could have go to another's later calls only until these were
//              served as much as its own, but for a turn and three times what ran at once
//   freezes    batch work alone stands still, while others work, and no longer than it may before
//              it has run
//
// The first thing that does not hold is kept, and nothing after it.
//
// Thread: the world's.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "simulate/books.h"
#include "simulate/observer.h"
#include "simulate/world_model.h"

namespace glowplug::simulate {

struct Violation {
  Time at{};
  std::uint64_t turn = 0;  // the how manieth
  std::string rule;        // calls, processes, memory, devices, budgets, bounds, fairness, freezes
  std::string what;
  friend bool operator==(const Violation&, const Violation&) = default;
};

// Where checkers put what does not hold.
class Verdict final {
 public:
  void fail(Time at, std::string rule, std::string what) {
    if (!violation_) violation_ = Violation{at, turns_, std::move(rule), std::move(what)};
  }
  void next_turn() { ++turns_; }
  const std::optional<Violation>& violation() const { return violation_; }
  std::uint64_t turns() const { return turns_; }

 private:
  std::optional<Violation> violation_;
  std::uint64_t turns_ = 0;
};

// One of the eight.
class Checker {
 public:
  virtual ~Checker() = default;
  virtual void turned(const Turn& turn, Verdict& verdict) = 0;
  // From time to time: the brain's own view of all functions beside the books.
  virtual void compare(const std::vector<control::FunctionView>&, Time, Verdict&) {}
  virtual void call_ended(const CallResult&, Verdict&) {}
  virtual void at_end(Time, Verdict&) {}
};

std::unique_ptr<Checker> make_call_checker();
std::unique_ptr<Checker> make_process_checker(const Books& books);
std::unique_ptr<Checker> make_memory_checker(std::uint64_t memory_bytes);
std::unique_ptr<Checker> make_device_checker(const WorldModel& model);
std::unique_ptr<Checker> make_budget_checker(const WorldModel& model);
std::unique_ptr<Checker> make_bounds_checker(const Books& books);
std::unique_ptr<Checker> make_fairness_checker(const Books& books);
std::unique_ptr<Checker> make_freeze_checker(const Books& books);

class Checkers final : public Observer {
 public:
  explicit Checkers(const WorldModel& model);

  void turned(const Turn& turn) override;
  void call_ended(const CallResult& result) override;
  void at_end(Time now);  // nothing is left to happen to any call

  const std::optional<Violation>& violation() const { return verdict_.violation(); }
  std::uint64_t turns() const { return verdict_.turns(); }

 private:
  Verdict verdict_;
  Books books_;
  std::vector<std::unique_ptr<Checker>> checkers_;
};

}  // namespace glowplug::simulate
