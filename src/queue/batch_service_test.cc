#include <gmock/gmock.h>

#include "queue/batch_rows.h"
#include "queue/test_batches.h"

namespace glowplug::queue {
namespace {

using namespace std::chrono_literals;
using domain::JobState;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class BatchServiceTest : public BatchTest {
 protected:
  std::int64_t start(const std::string& input) {
    const auto file = upload(input);
    EXPECT_TRUE(file);
    const auto batch = create(file->id);
    EXPECT_TRUE(batch) << batch.error().message;
    return batch->id;
  }
  Result<BatchRecord> cancel(std::int64_t id) {
    std::optional<Result<BatchRecord>> cancelled;
    batches_->cancel(id, [&](Result<BatchRecord> record) { cancelled = std::move(record); });
    EXPECT_TRUE(loop_.run_until([&] { return cancelled.has_value(); }));
    return *cancelled;
  }
  bool run_until_open(std::int64_t id, std::size_t count) {
    return loop_.run_until([&] { return jobs_.open(id) == count; });
  }
  void run_all(std::function<JobState(std::uint64_t)> how = [](std::uint64_t) {
    return JobState::Completed;
  }) {
    jobs_.runs = std::move(how);
    for (const auto& [id, rows] : jobs_.rows) jobs_.run(id);
  }
};

TEST_F(BatchServiceTest, GoodLines_Complete) {
  jobs_.runs = [](std::uint64_t line) {
    return line == 2 ? JobState::Failed : JobState::Completed;
  };
  const auto id = start(lines(5));
  const BatchRecord batch = run_to(id, BatchState::Completed);
  EXPECT_EQ(batch.total, 5U);
  EXPECT_EQ(batch.done, 4U);
  EXPECT_EQ(batch.failed, 1U);
  EXPECT_EQ(line_count(content(batch.output_file)), 4U);
  EXPECT_EQ(line_count(content(batch.error_file)), 1U);
  EXPECT_THAT(content(batch.error_file), HasSubstr(R"("custom_id":"id-2")"));
  ASSERT_TRUE(batch.usage);
  EXPECT_EQ(batch.usage->prompt_tokens, 8);
  EXPECT_EQ(batch.usage->cached_tokens, 4);
  EXPECT_EQ(batch.usage->completion_tokens, 12);
  ASSERT_EQ(told_.size(), 1U);
  EXPECT_EQ(told_[0].state, BatchState::Completed);
  EXPECT_EQ(jobs_.requests.at(0).path, "/v1/chat/completions");
  EXPECT_EQ(jobs_.requests.at(0).function, "fn");
  EXPECT_EQ(jobs_.requests.at(0).body, R"({"model":"fn","messages":[]})");
  for (const BatchState state :
       {BatchState::InProgress, BatchState::Finalizing, BatchState::Completed})
    EXPECT_TRUE(batch.at[static_cast<std::size_t>(state)]) << to_string(state);
}

// What tells webhooks is part of the transaction in which the batch ends, in each way it can.
TEST_F(BatchServiceTest, EveryEnd_IsWrittenWithWhatItIsToldBy) {
  run_all();
  run_to(start(lines(3)), BatchState::Completed);
  EXPECT_THAT(written_, ElementsAre(BatchState::Completed));
  run_to(start("{bad\n"), BatchState::Failed);
  jobs_.runs = nullptr;
  const auto id = start(lines(3));
  ASSERT_TRUE(run_until_open(id, 3));
  EXPECT_TRUE(cancel(id));
  run_to(id, BatchState::Cancelled);
  EXPECT_THAT(written_,
              ElementsAre(BatchState::Completed, BatchState::Failed, BatchState::Cancelled));
  EXPECT_EQ(batches_->ended().at(BatchState::Cancelled), 1U);
  EXPECT_EQ(batches_->count_states()[static_cast<std::size_t>(BatchState::Failed)], 1U);
}

TEST_F(BatchServiceTest, WhatIsWrittenWithABatch_IsThereWithItOrNeitherIs) {
  const auto file = upload(lines(1));
  with_ = [](storage::Database&, const BatchRecord&, Time) -> Result<void> {
    return Error{"storage_failed", "after the row", ""};
  };
  EXPECT_FALSE(create(file->id));
  EXPECT_TRUE(batches_->list().empty());
  restart();
  EXPECT_TRUE(batches_->list().empty());
}

TEST_F(BatchServiceTest, AllGood_HasNoErrorFile) {
  run_all();
  const BatchRecord batch = run_to(start(lines(3)), BatchState::Completed);
  EXPECT_TRUE(batch.error_file.empty());
  EXPECT_EQ(files_->find(batch.output_file)->purpose, "batch_output");
}

TEST_F(BatchServiceTest, BadLines_FailTheBatchWithTheirNumbers) {
  const auto id = start(line(1) + "{bad\n" + line(1) + line(4, "gone"));
  const BatchRecord batch = run_to(id, BatchState::Failed);
  std::vector<std::uint64_t> numbers;
  for (const BatchFault& fault : batch.faults) numbers.push_back(fault.line);
  EXPECT_THAT(numbers, ElementsAre(2, 3, 4));
  EXPECT_TRUE(jobs_.rows.empty());
  restart();
  EXPECT_EQ(batches_->find(id)->faults, batch.faults);
  EXPECT_EQ(batches_->find(id)->traceparent, "trace-1");
  EXPECT_EQ(run_to(start("\n"), BatchState::Failed).faults.at(0).line, 0U);
}

TEST_F(BatchServiceTest, InputThatIsNone_IsRefused) {
  const auto absent = create("file-absent");
  EXPECT_EQ(absent.error().param, "input_file_id");
  const auto other = upload(lines(1), {"a", "user_data", {}});
  EXPECT_THAT(create(other->id).error().message, HasSubstr("user_data"));
}

TEST_F(BatchServiceTest, Window_BoundsWhatIsQueued) {
  const auto id = start(lines(2'000));
  ASSERT_TRUE(run_until_open(id, 512));
  batches_->tick(clock_.now());
  EXPECT_LE(jobs_.open_most, lines_queued_);
  run_all();
  const BatchRecord batch = run_to(id, BatchState::Completed);
  EXPECT_EQ(batch.done, 2'000U);
  EXPECT_EQ(line_count(content(batch.output_file)), 2'000U);
  EXPECT_LE(jobs_.open_most, lines_queued_);
}

TEST_F(BatchServiceTest, FullQueue_HoldsBackLines) {
  jobs_.room_now = 0;
  const auto id = start(lines(3));
  run_to(id, BatchState::InProgress);
  batches_->tick(clock_.now());
  EXPECT_TRUE(jobs_.rows[id].empty());
  jobs_.room_now = 1'000;
  run_all();
  batches_->tick(clock_.now());
  run_to(id, BatchState::Completed);
}

TEST_F(BatchServiceTest, RefusedLines_AreAddedLater) {
  jobs_.refusal = Error{"disk_full", "full", ""};
  const auto id = start(lines(3));
  run_to(id, BatchState::InProgress);
  bool looked = false;
  disk_->post([] {}, [&] { looked = true; });
  ASSERT_TRUE(loop_.run_until([&] { return looked; }));
  jobs_.refusal.reset();
  run_all();
  clock_.advance(1min);
  const auto ticking = [&] {
    batches_->tick(clock_.now());
    clock_.advance(1ms);
    loop_.post([] {});
    return batches_->find(id)->state == BatchState::Completed;
  };
  ASSERT_TRUE(loop_.run_until(ticking));
  EXPECT_EQ(batches_->find(id)->done, 3U);
}

TEST_F(BatchServiceTest, Cancel_KeepsWhatIsDone) {
  const auto id = start(lines(1'000));
  ASSERT_TRUE(run_until_open(id, 512));
  jobs_.end(id, 1, JobState::Completed);
  jobs_.end(id, 2, JobState::Failed);
  const auto cancelled = cancel(id);
  ASSERT_TRUE(cancelled);
  EXPECT_EQ(cancelled->state, BatchState::Cancelling);
  const BatchRecord batch = run_to(id, BatchState::Cancelled);
  EXPECT_EQ(jobs_.cancels, 1);
  EXPECT_EQ(batch.done, 1U);
  EXPECT_EQ(batch.failed, 999U);
  EXPECT_EQ(line_count(content(batch.output_file)), 1U);
  const std::string errors = content(batch.error_file);
  EXPECT_EQ(line_count(errors), 999U);
  EXPECT_THAT(errors, HasSubstr("batch_cancelled"));
  EXPECT_EQ(cancel(id)->state, BatchState::Cancelled);
  EXPECT_EQ(cancel(id + 1).error().code, "not_found");
}

TEST_F(BatchServiceTest, CancelWhileTheInputIsRead_MakesNoFiles) {
  const auto file = upload(lines(3));
  std::optional<Result<BatchRecord>> cancelled;
  std::int64_t id = 0;
  batches_->create({.endpoint = "/v1/chat/completions", .input_file = file->id},
                   [&](Result<BatchRecord> made) {
                     id = made->id;
                     batches_->cancel(id, [&](Result<BatchRecord> record) { cancelled = record; });
                   });
  ASSERT_TRUE(loop_.run_until([&] { return cancelled.has_value(); }));
  const BatchRecord batch = run_to(id, BatchState::Cancelled);
  EXPECT_TRUE(jobs_.rows.empty());
  EXPECT_TRUE(batch.output_file.empty() && batch.error_file.empty());
}

TEST_F(BatchServiceTest, EndOfTheWindow_KeepsWhatIsDone) {
  const auto id = start(lines(1'000));
  ASSERT_TRUE(run_until_open(id, 512));
  jobs_.end(id, 1, JobState::Completed);
  clock_.advance(24h);
  for (std::uint64_t line = 2; line <= 512; ++line) jobs_.end(id, line, JobState::Expired);
  batches_->tick(clock_.now());
  const BatchRecord batch = run_to(id, BatchState::Expired);
  EXPECT_EQ(line_count(content(batch.output_file)), 1U);
  EXPECT_EQ(line_count(content(batch.error_file)), 999U);
  EXPECT_THAT(content(batch.error_file), HasSubstr("batch_expired"));
  EXPECT_EQ(jobs_.rows[id].size(), 512U);
}

TEST_F(BatchServiceTest, RestartAtAnyMoment_AddsNoLineTwiceAndLosesNone) {
  const std::string input = lines(700);
  for (std::size_t steps = 1; steps < 60; ++steps) {
    SCOPED_TRACE(steps);
    jobs_.runs = [](std::uint64_t) { return JobState::Completed; };
    const auto id = start(input);
    std::size_t left = steps;
    ASSERT_TRUE(
        loop_.run_until([&] { return left-- == 0 || is_terminal(batches_->find(id)->state); }));
    restart();
    if (is_terminal(batches_->find(id)->state)) break;
    jobs_.run(id);
    const auto ticking = [&] {
      clock_.advance(1ms);  // so little that a slow disk is done before the batch's day is over
      batches_->tick(clock_.now());
      loop_.post([] {});
      return is_terminal(batches_->find(id)->state);
    };
    ASSERT_TRUE(loop_.run_until(ticking));
    ASSERT_EQ(batches_->find(id)->state, BatchState::Completed);
    EXPECT_EQ(batches_->find(id)->done, 700U);
    EXPECT_EQ(line_count(content(batches_->find(id)->output_file)), 700U);
    EXPECT_EQ(jobs_.rows[id].size(), 700U);
  }
}

TEST_F(BatchServiceTest, DeletedInput_IsReadToItsEndAlsoAfterARestart) {
  const auto file = upload(lines(3));
  jobs_.room_now = 0;
  const auto id = create(file->id)->id;
  run_to(id, BatchState::InProgress);
  bool removed = false;
  files_->remove(file->id, [&](Result<void>) { removed = true; });
  ASSERT_TRUE(loop_.run_until([&] { return removed; }));
  EXPECT_FALSE(files_->find(file->id));
  restart();
  EXPECT_FALSE(files_->find(file->id));
  files_->sweep();
  jobs_.room_now = 1'000;
  run_all();
  batches_->tick(clock_.now());
  run_to(id, BatchState::Completed);
  files_->sweep();
  EXPECT_TRUE(loop_.run_until([&] { return !files_->find_any(file->id); }));
}

TEST_F(BatchServiceTest, HundredThousandLines_AllBecomeJobs) {
  lines_max_ = 100'000;
  lines_queued_ = domain::kBatchLinesQueued;
  restart();
  jobs_.runs = [](std::uint64_t line) {
    return line % 100 == 0 ? JobState::Failed : JobState::Completed;
  };
  const auto id = start(lines(100'000));
  const BatchRecord batch = run_to(id, BatchState::Completed);
  EXPECT_EQ(batch.done, 99'000U);
  EXPECT_EQ(batch.failed, 1'000U);
  EXPECT_LE(jobs_.open_most, lines_queued_);
}

}  // namespace
}  // namespace glowplug::queue
