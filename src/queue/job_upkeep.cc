#include <algorithm>
#include <utility>

#include "queue/job_service_state.h"

namespace glowplug::queue {
namespace {

using storage::Need;

constexpr Duration kUpkeepEvery = std::chrono::minutes(1);
constexpr Duration kUpkeepAgain = std::chrono::milliseconds(200);  // where more is to be swept
constexpr int kSweptAtOnce = 500;  // rows of one transaction, so that no commit waits long for it

}  // namespace

void JobService::State::arrive(control::JobArrived arrived) {
  const std::string function = arrived.function;
  const bool known = sized.contains(function);
  if (!known) size(function);
  post(std::move(arrived));
  if (!known && !sized.contains(function)) post(control::FunctionRemoved{function});
}

void JobService::State::size(const std::string& function) {
  const std::optional<int> places = parts.places_of(function);
  if (!places) {
    sized.erase(function);
    return;
  }
  sized.insert(function);
  post(control::FunctionSized{function, *places});
}

void JobService::State::schedule() {
  Time due = upkeep_due;
  if (queue_wake) due = std::min(due, *queue_wake);
  if (rewrite_due) due = std::min(due, *rewrite_due);
  if (scheduled == due) return;
  scheduled = due;
  parts.wake_in(std::max(Duration(0), due - parts.clock.now()));
}

// The clock's anchor is kept fresh, and what was kept long enough goes.
void JobService::State::upkeep() {
  const Time now = parts.clock.now();
  upkeep_due = now + kUpkeepEvery;
  const auto more = std::make_shared<bool>(false);
  parts.writer.post(
      [now, more, save = parts.clock.save()](storage::Database& database) -> Result<void> {
        if (const Result<void> saved = save(database); !saved) return saved;
        const Result<int> jobs = storage::sweep_jobs(database, now, kSweptAtOnce);
        if (!jobs) return jobs.error();
        const Result<int> keys = storage::sweep_keys(database, now, kSweptAtOnce);
        if (!keys) return keys.error();
        *more = *jobs == kSweptAtOnce || *keys == kSweptAtOnce;
        return {};
      },
      [this, more](const Result<void>& swept) {
        if (!swept || !*more) return;
        upkeep_due = std::min(upkeep_due, parts.clock.now() + kUpkeepAgain);
        schedule();
      },
      Need::Must);
}

// The jobs are told while this thread waits for the writer's, which only reads; nothing is carried
// out before both the file is read and the functions are known.
Result<void> JobService::recover() {
  State& state = *state_;
  std::vector<control::JobEffects> decided;
  std::set<std::string> functions;
  const Time now = state.parts.clock.now();
  if (const Result<void> back = state.parts.writer.run(storage::hand_back_jobs); !back)
    return back.error();
  const Result<void> read = state.parts.writer.run([&](storage::Database& database) {
    return storage::recover_jobs(database, [&](control::JobArrived arrived) {
      if (!functions.contains(arrived.function)) functions.insert(arrived.function);
      ++state.totals.found;
      control::JobEffects effects = state.queue.handle(std::move(arrived), now);
      state.queue_wake = effects.wake_at;
      if (!effects.list.empty()) decided.push_back(std::move(effects));
    });
  });
  if (!read) return read.error();
  for (const control::JobEffects& effects : decided) state.carry_out(effects);
  for (const std::string& function : functions) {
    state.size(function);
    if (!state.sized.contains(function)) state.post(control::FunctionRemoved{function});
  }
  state.upkeep();
  state.schedule();
  return {};
}

void JobService::tick() {
  State& state = *state_;
  const Time now = state.parts.clock.now();
  state.scheduled.reset();
  if (state.rewrite_due && *state.rewrite_due <= now) {
    state.rewrite_due.reset();
    for (auto& end : std::exchange(state.unwritten, {})) state.write_end(std::move(end));
  }
  if (state.upkeep_due <= now) state.upkeep();
  if (state.queue_wake && *state.queue_wake <= now) state.post(control::QueueTick{});
  state.schedule();
}

void JobService::function_changed(const std::string& function) {
  state_->size(function);
  if (!state_->sized.contains(function)) state_->post(control::FunctionRemoved{function});
}

void JobService::drain() {
  state_->draining = true;
  state_->post(control::QueueDrained{});
}

}  // namespace glowplug::queue
