#include "storage/write_loop.h"

#include <chrono>
#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <span>
#include <thread>

#include <fmt/format.h>

#include "domain/errors.h"
#include "storage/group_commit.h"

namespace glowplug::storage {
namespace {

Error too_far_behind(const std::string& why) {
  return Error{std::string(domain::error::kServerIsOverloaded),
               fmt::format("the state file's disk is too slow for what is asked of it: {}", why),
               {}};
}

}  // namespace

struct WriteLoop::State {
  explicit State(Parts given)
      : deliver(std::move(given.deliver)),
        halt(std::move(given.halted)),
        warn(std::move(given.warn)),
        options(given.options),
        commits(std::move(given.file), options),
        path(commits.path()),
        thread([this] { loop(); }) {}  // Owner: this, which joins it.

  std::optional<Error> add(PostedWrite write);
  void loop();
  bool take(std::vector<PostedWrite>& batch);
  void answer(std::vector<PostedWrite> batch);
  void note();
  void tell(const WriteCounts& before, const WriteCounts& now) const;

  const std::function<void(std::vector<std::function<void()>>)> deliver;
  const std::function<void(const Error&)> halt;
  const std::function<void(const std::string&)> warn;
  const WriteOptions options;
  GroupCommit commits;  // its thread's alone, once that runs
  const std::string path;

  mutable std::mutex mutex;  // guards what follows; never held across I/O or a callback
  std::condition_variable changed;
  std::deque<PostedWrite> waiting;
  bool stopping = false;
  std::optional<Error> halted;
  WriteCounts counts;
  std::uint64_t refused = 0;

  std::thread thread;  // last: it uses all of the above
};

// --- callers ---

// The error where it is refused; the write is not taken then.
std::optional<Error> WriteLoop::State::add(PostedWrite write) {
  if (options.clock) write.posted_at = options.clock->now();
  {
    const std::lock_guard lock(mutex);
    std::optional<Error> why = halted;
    if (!why && write.need == Need::May) {
      if (counts.disk_full)
        why = no_room(path);
      else if (waiting.size() >= kWritesWaitingMax)
        why = too_far_behind(fmt::format("{} writes wait", waiting.size()));
      else if (options.clock && !waiting.empty() &&
               write.posted_at - waiting.front().posted_at > kWriteWaitMax)
        why = too_far_behind(fmt::format("a write has waited more than {} s for its turn",
                                         to_seconds(kWriteWaitMax)));
    }
    if (why) {
      ++refused;
      return why;
    }
    waiting.push_back(std::move(write));
  }
  changed.notify_one();
  return std::nullopt;
}

void WriteLoop::post(Work work, Done done, Need need) {
  PostedWrite write{.work = std::move(work), .done = done, .need = need};
  const std::optional<Error> refused = state_->add(std::move(write));
  if (refused && done)
    state_->deliver({[done = std::move(done), error = *refused] { done(error); }});
}

Result<void> WriteLoop::run(Work work, Need need) {
  GLOWPLUG_ASSERT(std::this_thread::get_id() != state_->thread.get_id());
  // Shared with the writer, which may still be in set_value() when this returns.
  const auto promise = std::make_shared<std::promise<Result<void>>>();
  std::future<Result<void>> outcome = promise->get_future();
  const auto refused =
      state_->add({.work = std::move(work),
                   .done = [promise](const Result<void>& result) { promise->set_value(result); },
                   .need = need,
                   .waited_for = true});
  if (refused) return *refused;
  return outcome.get();
}

WriteCounts WriteLoop::counts() const {
  const std::lock_guard lock(state_->mutex);
  WriteCounts counts = state_->counts;
  counts.refused = state_->refused;
  return counts;
}

const std::string& WriteLoop::path() const { return state_->path; }

// --- its thread ---

void WriteLoop::State::loop() {
  std::vector<PostedWrite> batch;
  bool told = false;
  while (take(batch)) {
    if (batch.empty())
      commits.rest();
    else
      commits.commit(batch);
    note();
    answer(std::exchange(batch, {}));
    if (commits.halted() && !std::exchange(told, true) && halt) halt(*commits.halted());
  }
}

// False: nothing waits, and nothing will. An empty batch: nothing has come for a while.
bool WriteLoop::State::take(std::vector<PostedWrite>& batch) {
  std::unique_lock lock(mutex);
  changed.wait_for(lock, options.idle, [this] { return stopping || !waiting.empty(); });
  while (!waiting.empty() && batch.size() < kWritesPerCommit) {
    batch.push_back(std::move(waiting.front()));
    waiting.pop_front();
  }
  return !(stopping && batch.empty());
}

// Before anybody is answered, so that what an answer is about is counted already.
void WriteLoop::State::note() {
  const WriteCounts now = commits.counts();
  WriteCounts before;
  {
    const std::lock_guard lock(mutex);
    before = std::exchange(counts, now);
    halted = commits.halted();
  }
  if (warn) tell(before, now);
}

void WriteLoop::State::tell(const WriteCounts& before, const WriteCounts& now) const {
  if (now.disk_full && !before.disk_full)
    warn(
        fmt::format("the disk of '{}' is full: only the ends of what was accepted are written, "
                    "out of the ballast; free some space",
                    path));
  if (!now.disk_full && before.disk_full)
    warn(fmt::format("there is room for '{}' again: everything is accepted", path));
  if (now.reopened > before.reopened)
    warn(
        fmt::format("'{}' could not be written and was opened again; what was being written then "
                    "was refused",
                    path));
}

void WriteLoop::State::answer(std::vector<PostedWrite> batch) {
  std::vector<std::function<void()>> calls;
  for (PostedWrite& write : batch) {
    if (write.waited_for || !write.done) continue;
    calls.push_back(
        [done = std::move(write.done), outcome = std::move(write.outcome)] { done(outcome); });
  }
  if (!calls.empty()) deliver(std::move(calls));
  for (PostedWrite& write : batch)
    if (write.waited_for) write.done(write.outcome);
}

WriteLoop::WriteLoop(Parts parts) : state_(std::make_unique<State>(std::move(parts))) {}

WriteLoop::~WriteLoop() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->changed.notify_one();
  state_->thread.join();
}

}  // namespace glowplug::storage
