// The durable queue over a state file in a new folder, with a runner and clocks that a test moves.
// Thread: one test; the writer's and the reader's threads hand their callbacks to its loop.
#pragma once

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "queue/job_service.h"
#include "storage/test_root.h"

namespace glowplug::queue {

using namespace std::chrono_literals;

class FakeRunner final : public JobRunner {
 public:
  struct Run {
    domain::JobId job;
    std::uint64_t fence = 0;
    JobRequest request;
    Heard heard;
  };

  Result<void> check(const JobRequest& request) override {
    if (refusal) return *refusal;
    checked.push_back(request.body);
    return {};
  }
  void start(domain::JobId job, std::uint64_t fence, JobRequest request, Heard heard) override {
    runs.push_back({job, fence, std::move(request), std::move(heard)});
  }
  void stop(domain::JobId job, std::uint64_t fence, policy::Payer payer) override {
    stopped.emplace_back(job, fence);
    payers.push_back(payer);
    if (holds_stops) return;
    for (const Run& one : runs)
      if (one.job == job && one.fence == fence)
        later([tell = one.heard.stopped] { tell(std::nullopt); });
  }

  static AttemptAnswer answer(std::string body, int status = 200) {
    AttemptAnswer answer;
    answer.status = status;
    answer.body = std::move(body);
    answer.revision = 1;
    return answer;
  }
  static AttemptAnswer failure(control::AttemptOutcome outcome) {
    AttemptAnswer answer = FakeRunner::answer("{\"error\":1}", 503);
    answer.outcome = outcome;
    answer.code = "function_failed";
    answer.message = "it failed";
    return answer;
  }

  std::optional<Error> refusal;
  std::vector<std::string> checked;
  std::vector<Run> runs;
  std::vector<std::pair<domain::JobId, std::uint64_t>> stopped;
  std::vector<policy::Payer> payers;  // of each that was stopped
  bool holds_stops = false;           // a test tells by itself that they are done
  std::function<void(std::function<void()>)> later;
};

class JobsTest : public testing::Test {
 protected:
  ~JobsTest() override {
    close();
    std::filesystem::remove_all(root_);
  }

  // A server on the folder. What an earlier one had posted is written before.
  void open() {
    close();
    auto file = storage::StateFile::open(root_ + "/data");
    ASSERT_TRUE(file) << file.error().message;
    writer_ = std::make_unique<storage::WriteLoop>(storage::WriteLoop::Parts{
        .file = std::move(*file),
        .deliver =
            [this](std::vector<std::function<void()>> calls) {
              for (auto& call : calls) deliver(std::move(call));
            },
        .halted = [](const Error& error) { ADD_FAILURE() << error.message; }});
    auto reader = storage::ReadLoop::open(
        writer_->path(), [this](std::function<void()> call) { deliver(std::move(call)); });
    ASSERT_TRUE(reader) << reader.error().message;
    reader_ = std::move(*reader);
    const Result<void> clocked = writer_->run([this](storage::Database& database) -> Result<void> {
      Result<QueueClock> clock = QueueClock::open(
          database, [this] { return reading_; }, 7);
      if (!clock) return clock.error();
      clock_ = std::make_unique<QueueClock>(std::move(*clock));
      return {};
    });
    ASSERT_TRUE(clocked);
    runner_ = std::make_unique<FakeRunner>();
    runner_->later = [this](std::function<void()> call) { deliver(std::move(call)); };
    service_ = std::make_unique<JobService>(JobService::Parts{
        .writer = *writer_,
        .reader = *reader_,
        .runner = *runner_,
        .clock = *clock_,
        .places_of = [this](const std::string& name) -> std::optional<int> {
          const auto found = places_.find(name);
          return found == places_.end() ? std::nullopt : std::optional(found->second);
        },
        .wake_in = [this](Duration after) { wake_in_ = after; },
        .seed = 1,
        .on_settle = on_settle_,
        .jobs_max = jobs_max_});
    ASSERT_TRUE(service_->recover());
  }

  void close() {
    service_.reset();
    reader_.reset();
    writer_.reset();
    const std::lock_guard lock(mutex_);
    delivered_.clear();  // as with a process that ends
  }

  void advance(std::chrono::milliseconds by) {
    reading_.boottime += by;
    reading_.wall += by;
    service_->tick();
    // What that has posted is written before this is.
    EXPECT_TRUE(writer_->run([](storage::Database&) { return Result<void>(); }));
  }

  void deliver(std::function<void()> call) {
    {
      const std::lock_guard lock(mutex_);
      delivered_.push_back(std::move(call));
    }
    arrived_.notify_one();
  }

  // Runs what the threads hand over until `reached`.
  bool run_until(const std::function<bool()>& reached) {
    while (!reached()) {
      std::function<void()> call;
      {
        std::unique_lock lock(mutex_);
        if (!arrived_.wait_for(lock, 5s, [this] { return !delivered_.empty(); })) return false;
        call = std::move(delivered_.front());
        delivered_.pop_front();
      }
      call();
    }
    return true;
  }

  template <typename T>
  T await(const std::function<void(std::function<void(T)>)>& ask) {
    std::optional<T> value;
    ask([&value](T got) { value.emplace(std::move(got)); });
    EXPECT_TRUE(run_until([&value] { return value.has_value(); }));
    return std::move(*value);
  }

  Result<Accepted> try_submit(SubmitOptions options = {}, const std::string& body = "{}") {
    Submission submission{.request = {.function = "fn", .path = "/v1/completions", .body = body},
                          .options = std::move(options)};
    return await<Result<Accepted>>(
        [&](auto done) { service_->submit(std::move(submission), std::move(done)); });
  }
  domain::JobId submit(SubmitOptions options = {}, const std::string& body = "{}") {
    const Result<Accepted> accepted = try_submit(std::move(options), body);
    EXPECT_TRUE(accepted) << accepted.error().message;
    return accepted ? accepted->job : domain::JobId{};
  }
  Result<storage::JobView> view(domain::JobId job) {
    return await<Result<storage::JobView>>(
        [&](auto done) { service_->view(job, std::move(done)); });
  }
  domain::JobState state(domain::JobId job) {
    const Result<storage::JobView> seen = view(job);
    EXPECT_TRUE(seen) << seen.error().message;
    return seen ? seen->state : domain::JobState::Queued;
  }
  bool runs(std::size_t count) {
    return run_until([&] { return runner_->runs.size() >= count; });
  }
  void end(std::size_t run, AttemptAnswer answer) {
    const auto ended = runner_->runs.at(run).heard.ended;
    ended(std::move(answer));
  }
  // Until its end is on the disk.
  storage::JobView over(domain::JobId job) {
    for (int looks = 0; looks < 1'000; ++looks) {
      Result<storage::JobView> seen = view(job);
      if (seen && is_terminal(seen->state)) return *seen;
      if (!seen) {
        ADD_FAILURE() << seen.error().message;
        return {};
      }
    }
    ADD_FAILURE() << storage::to_text(job) << " does not end";
    return {};
  }
  Result<void> write(const std::string& sql) {
    return writer_->run([&](storage::Database& database) { return database.execute(sql); });
  }

  std::string root_ = storage::make_test_root();
  std::map<std::string, int> places_{{"fn", 4}};
  storage::OnSettle on_settle_;
  std::size_t jobs_max_ = domain::kJobsQueuedMax;
  ClockReading reading_{
      .boot_id = "boot", .boottime = 1'000'000ms, .wall = WallTime(1'700'000'000'000ms)};
  std::optional<Duration> wake_in_;
  std::unique_ptr<storage::WriteLoop> writer_;
  std::unique_ptr<storage::ReadLoop> reader_;
  std::unique_ptr<QueueClock> clock_;
  std::unique_ptr<FakeRunner> runner_;
  std::unique_ptr<JobService> service_;

 private:
  std::mutex mutex_;  // guards what follows
  std::condition_variable arrived_;
  std::deque<std::function<void()>> delivered_;
};

}  // namespace glowplug::queue
