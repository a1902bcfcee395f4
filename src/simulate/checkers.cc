#include "simulate/checkers.h"

namespace glowplug::simulate {
namespace {

constexpr std::uint64_t kCompareEvery =
    64;  // turns: a view of all functions costs more than a turn

}  // namespace

Checkers::Checkers(const WorldModel& model) {
  const Machine& machine = model.machine;
  checkers_.push_back(make_call_checker());
  checkers_.push_back(make_process_checker(books_));
  checkers_.push_back(make_memory_checker(machine.memory_bytes));
  checkers_.push_back(make_device_checker(model));
  checkers_.push_back(make_budget_checker(model));
  checkers_.push_back(make_bounds_checker(books_));
  checkers_.push_back(make_fairness_checker(books_));
  checkers_.push_back(make_freeze_checker(books_));
}

void Checkers::turned(const Turn& turn) {
  verdict_.next_turn();
  books_.enter(turn);
  for (const auto& checker : checkers_) checker->turned(turn, verdict_);
  if (verdict_.turns() % kCompareEvery != 0) return;
  std::vector<control::FunctionView> views;
  turn.brain.each_function(
      [&views](control::FunctionView view) { views.push_back(std::move(view)); });
  for (const auto& checker : checkers_) checker->compare(views, turn.now, verdict_);
}

void Checkers::call_ended(const CallResult& result) {
  for (const auto& checker : checkers_) checker->call_ended(result, verdict_);
}

void Checkers::at_end(Time now) {
  for (const auto& checker : checkers_) checker->at_end(now, verdict_);
}

}  // namespace glowplug::simulate
