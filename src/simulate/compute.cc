#include "simulate/compute.h"

#include <algorithm>

#include "base/result.h"
#include "simulate/seconds.h"

namespace glowplug::simulate {
namespace {

constexpr double kNothing = 2e-9;  // seconds: two ticks of the clock

}  // namespace

double Compute::speed() const {
  return wanted_ <= cores_ ? 1.0 : static_cast<double>(cores_) / wanted_;
}

void Compute::move_to(Time now) {
  GLOWPLUG_ASSERT(now >= now_);
  const double passed = to_seconds(now - now_);
  work_ += passed * speed();
  busy_core_seconds_ += passed * std::min(wanted_, cores_);
  now_ = now;
}

// Brings a task up to the clock.
void Compute::catch_up(Task& task) {
  const double passed = (work_ - task.at) * task.pace;
  task.at = work_;
  if (!task.works || passed <= 0) return;
  if (task.engine)
    task.engine->advance(passed);
  else
    task.load_left_s -= passed;
}

void Compute::schedule(domain::ProcessId process, Task& task) {
  task.turn = ++turns_;
  const bool works = !task.stalled && !task.frozen && (!task.engine || !task.engine->is_idle());
  if (works != task.works) wanted_ += works ? task.threads : -task.threads;
  task.works = works;
  if (!works) return;
  const double left = task.engine ? *task.engine->next() : std::max(0.0, task.load_left_s);
  entries_.push({work_ + left / task.pace, ++orders_, process, task.turn});
}

void Compute::load(domain::ProcessId process, double work_s, int threads, Time now) {
  move_to(now);
  Task& task = tasks_[process];
  task.load_left_s = work_s;
  task.threads = threads;
  task.at = work_;
  schedule(process, task);
}

void Compute::open(domain::ProcessId process, const ModelProfile& profile, int threads, Time now,
                   double speed) {
  move_to(now);
  const auto found = tasks_.find(process);
  if (found != tasks_.end() && found->second.works) wanted_ -= found->second.threads;
  Task task;
  task.engine.emplace(profile);
  task.threads_measured = profile.threads;
  task.speed = speed;
  use_threads(task, threads);
  task.at = work_;
  tasks_.insert_or_assign(process, std::move(task));
}

// It is no faster with more of them than it was measured with.
void Compute::use_threads(Task& task, int threads) {
  task.threads = std::min(threads, task.threads_measured);
  task.pace = task.speed;
  if (task.threads_measured > 0)
    task.pace *= static_cast<double>(task.threads) / task.threads_measured;
}

void Compute::set_threads(domain::ProcessId process, int threads, Time now) {
  move_to(now);
  const auto found = tasks_.find(process);
  if (found == tasks_.end() || !found->second.engine) return;
  Task& task = found->second;
  catch_up(task);
  const int before = task.threads;
  use_threads(task, threads);
  if (task.works) wanted_ += task.threads - before;
  schedule(process, task);
}

void Compute::run(domain::ProcessId process, const ReplicaEngine::Job& job, Time now) {
  move_to(now);
  Task& task = tasks_.at(process);
  GLOWPLUG_ASSERT(task.engine.has_value());
  catch_up(task);
  task.engine->add(job);
  schedule(process, task);
}

bool Compute::drop(domain::ProcessId process, domain::CallId call, Time now) {
  move_to(now);
  const auto found = tasks_.find(process);
  if (found == tasks_.end() || !found->second.engine) return false;
  catch_up(found->second);
  const bool dropped = found->second.engine->drop(call);
  schedule(process, found->second);
  return dropped;
}

void Compute::stall(domain::ProcessId process, Time now) {
  set(process, &Task::stalled, true, now);
}
void Compute::go_on(domain::ProcessId process, Time now) {
  set(process, &Task::stalled, false, now);
}
void Compute::freeze(domain::ProcessId process, bool frozen, Time now) {
  set(process, &Task::frozen, frozen, now);
}

void Compute::set(domain::ProcessId process, bool Task::*obstacle, bool is_there, Time now) {
  move_to(now);
  const auto found = tasks_.find(process);
  if (found == tasks_.end()) return;
  catch_up(found->second);
  found->second.*obstacle = is_there;
  schedule(process, found->second);
}

std::vector<domain::CallId> Compute::close(domain::ProcessId process, Time now) {
  move_to(now);
  const auto found = tasks_.find(process);
  if (found == tasks_.end()) return {};
  if (found->second.works) wanted_ -= found->second.threads;
  std::vector<domain::CallId> ran;
  if (found->second.engine) ran = found->second.engine->calls();
  tasks_.erase(found);
  return ran;
}

// Entries of tasks that changed since go when they come to the top.
void Compute::forget_void() {
  while (!entries_.empty()) {
    const auto found = tasks_.find(entries_.top().process);
    if (found != tasks_.end() && found->second.turn == entries_.top().turn) return;
    entries_.pop();
  }
}

std::optional<Time> Compute::next() {
  forget_void();
  if (entries_.empty()) return std::nullopt;
  return now_ + from_seconds_up((entries_.top().due - work_) / speed());
}

std::optional<Compute::Happening> Compute::take(Time now) {
  move_to(now);
  while (true) {
    forget_void();
    if (entries_.empty() || entries_.top().due > work_ + kNothing) return std::nullopt;
    const domain::ProcessId process = entries_.top().process;
    Task& task = tasks_.at(process);
    catch_up(task);
    if (!task.engine) {
      wanted_ -= task.threads;
      tasks_.erase(process);
      return Happening{process, Due::Loaded};
    }
    // The clock ticks in nanoseconds: what is due may be a part of one short of it.
    task.engine->advance(task.engine->next().value_or(0));
    const auto due = task.engine->take();
    GLOWPLUG_ASSERT(due.has_value());
    schedule(process, task);
    return Happening{process, due->due == ReplicaEngine::Due::Done ? Due::Done : Due::FirstToken,
                     due->call};
  }
}

}  // namespace glowplug::simulate
