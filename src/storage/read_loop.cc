#include "storage/read_loop.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "domain/errors.h"

namespace glowplug::storage {
namespace {

Result<void> run_sql(Database& database, std::string_view sql) {
  Result<Statement> statement = database.prepare(sql);
  if (!statement) return statement.error();
  return statement->finish();
}

// All that one read sees is of one moment.
Result<void> read_in_transaction(Database& database, const ReadLoop::Read& read) {
  if (auto begun = run_sql(database, "BEGIN"); !begun) return begun;
  Result<void> outcome = read(database);
  if (database.in_transaction())
    if (auto ended = run_sql(database, "COMMIT"); !ended && outcome) return ended;
  return outcome;
}

}  // namespace

struct ReadLoop::State {
  struct Posted {
    Read read;
    Done done;
  };
  State(Database given, Deliver deliver_to)
      : deliver(std::move(deliver_to)), database(std::move(given)) {}

  void answer(Done done, Result<void> outcome) {
    if (!done) return;
    deliver([done = std::move(done), outcome = std::move(outcome)] { done(outcome); });
  }
  void loop();

  const Deliver deliver;
  Database database;  // its thread's alone

  std::mutex mutex;  // guards what follows; never held across I/O or a callback
  std::condition_variable changed;
  std::deque<Posted> waiting;
  bool stopping = false;

  std::thread thread;  // last: it uses all of the above
};

Result<std::unique_ptr<ReadLoop>> ReadLoop::open(const std::string& file, Deliver deliver) {
  Result<Database> database = Database::open(file, Database::Mode::ReadOnly);
  if (!database) return database.error();
  for (const char* pragma : {"PRAGMA query_only=ON", "PRAGMA mmap_size=0",
                             "PRAGMA trusted_schema=OFF", "PRAGMA cell_size_check=ON"}) {
    const Result<void> set = database->execute(pragma);
    if (!set) return set.error();
  }
  return std::unique_ptr<ReadLoop>(
      new ReadLoop(std::make_unique<State>(std::move(*database), std::move(deliver))));
}

ReadLoop::ReadLoop(std::unique_ptr<State> state) : state_(std::move(state)) {
  state_->thread = std::thread([state = state_.get()] { state->loop(); });  // Owner: state_.
}

void ReadLoop::State::loop() {
  while (true) {
    Posted next;
    bool refused = false;
    {
      std::unique_lock lock(mutex);
      changed.wait(lock, [this] { return stopping || !waiting.empty(); });
      if (waiting.empty()) return;
      next = std::move(waiting.front());
      waiting.pop_front();
      refused = stopping;
    }
    if (refused)
      answer(std::move(next.done),
             Error{std::string(domain::error::kShuttingDown), "the server is shutting down", {}});
    else
      answer(std::move(next.done), read_in_transaction(database, next.read));
  }
}

void ReadLoop::post(Read read, Done done) {
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->waiting.size() < kReadsWaitingMax) {
      state_->waiting.push_back({std::move(read), std::move(done)});
      state_->changed.notify_one();
      return;
    }
  }
  state_->answer(std::move(done),
                 Error{std::string(domain::error::kServerIsOverloaded),
                       fmt::format("{} reads of the state file wait", kReadsWaitingMax),
                       {}});
}

ReadLoop::~ReadLoop() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->changed.notify_one();
  state_->database.interrupt();
  state_->thread.join();
}

}  // namespace glowplug::storage
