// Files and batches on a state file of their own, with a double of the jobs: for tests.
// Thread: one test; callbacks run in run_until().
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "queue/batch_service.h"
#include "queue/file_store.h"
#include "storage/state_file.h"
#include "storage/test_root.h"

namespace glowplug::queue {

// What other threads hand over, run by the test.
class TestLoop final {
 public:
  void post(std::function<void()> work) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      waiting_.push_back(std::move(work));
    }
    changed_.notify_one();
  }
  bool run_until(const std::function<bool()>& reached) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(120);
    while (!reached()) {
      if (std::chrono::steady_clock::now() > end) return false;  // also where work never ends
      std::function<void()> work;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        if (!changed_.wait_until(lock, end, [this] { return !waiting_.empty(); })) return false;
        work = std::move(waiting_.front());
        waiting_.pop_front();
      }
      work();
    }
    return true;
  }
  void forget() {
    const std::lock_guard<std::mutex> lock(mutex_);
    waiting_.clear();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> waiting_;
};

// Runs nothing by itself: a test says how each line ends.
class FakeJobs final : public BatchJobs {
 public:
  explicit FakeJobs(TestLoop& loop) : loop_(loop) {}

  std::size_t room() const override { return room_now; }
  void add(std::int64_t batch, Time, std::vector<Line> lines, Done<void> done) override {
    const Result<void> result = refusal ? Result<void>(*refusal) : Result<void>();
    if (result) {
      for (Line& line : lines) {
        EXPECT_FALSE(rows[batch].contains(line.line)) << "line " << line.line << " is added twice";
        Row& row = rows[batch][line.line];
        row.line = line.line;
        row.job = fmt::format("job_{}", line.line);
        requests.push_back(std::move(line.request));
      }
      open_most = std::max(open_most, open(batch));
    }
    loop_.post([this, batch, result, done = std::move(done)] {
      done(result);
      if (result && runs) run(batch);
    });
  }
  void cancel(std::int64_t batch) override {
    ++cancels;
    for (auto& [line, row] : rows[batch])
      if (!is_terminal(row.state)) end(batch, line, domain::JobState::Cancelled);
  }
  void count(std::int64_t batch, Done<Counts> done) override {
    Counts counts;
    for (const auto& [line, row] : rows[batch]) {
      ++counts.jobs;
      counts.over += is_terminal(row.state) ? 1 : 0;
      counts.completed += row.state == domain::JobState::Completed ? 1 : 0;
      counts.failed += row.state == domain::JobState::Failed ? 1 : 0;
      counts.last_line = line;
    }
    loop_.post([counts, done = std::move(done)] { done(counts); });
  }
  void read(std::int64_t batch, std::uint64_t line, std::size_t,
            Done<std::vector<Row>> done) override {
    std::vector<Row> page;
    for (auto at = rows[batch].upper_bound(line); at != rows[batch].end() && page.size() < 3; ++at)
      page.push_back(at->second);
    loop_.post([page, done = std::move(done)] { done(page); });
  }

  // All that are open, as `runs` says of each line.
  void run(std::int64_t batch) {
    for (auto& [line, row] : rows[batch])
      if (!is_terminal(row.state)) end(batch, line, runs(line));
  }
  void end(std::int64_t batch, std::uint64_t line, domain::JobState state) {
    Row& row = rows[batch].at(line);
    row.state = state;
    if (state == domain::JobState::Completed) {
      row.status = 200;
      row.body = fmt::format(R"({{"answer":{}}})", line);
      row.prompt_tokens = 2, row.cached_tokens = 1, row.completion_tokens = 3;
    }
    if (state == domain::JobState::Failed) row.status = 400, row.body = R"({"error":{}})";
    loop_.post([this, batch, state] {
      if (ended) ended(batch, state);
    });
  }
  std::size_t open(std::int64_t batch) {
    std::size_t count = 0;
    for (const auto& [line, row] : rows[batch]) count += is_terminal(row.state) ? 0 : 1;
    return count;
  }

  std::map<std::int64_t, std::map<std::uint64_t, Row>> rows;
  std::vector<JobRequest> requests;
  std::function<domain::JobState(std::uint64_t)> runs;  // none: they wait
  std::function<void(std::int64_t, domain::JobState)> ended;
  std::optional<Error> refusal;
  std::size_t room_now = 1'000'000;
  std::size_t open_most = 0;
  int cancels = 0;

 private:
  TestLoop& loop_;
};

class BatchTest : public ::testing::Test {
 protected:
  BatchTest() : jobs_(loop_) { open(); }
  ~BatchTest() override {
    close();
    std::filesystem::remove_all(root_);
  }

  void open() {
    auto file = storage::StateFile::open(root_ + "/data");
    ASSERT_TRUE(file) << file.error().message;
    storage::WriteLoop::Parts parts{.file = std::move(*file),
                                    .deliver =
                                        [this](std::vector<std::function<void()>> all) {
                                          for (auto& one : all) loop_.post(std::move(one));
                                        },
                                    .halted = [](const Error& error) { FAIL() << error.message; }};
    writes_ = std::make_unique<storage::WriteLoop>(std::move(parts));
    disk_ = std::make_unique<DiskThread>(
        [this](std::function<void()> done) { loop_.post(std::move(done)); });
    auto files = FileStore::open({.folder = folder_,
                                  .writes = *writes_,
                                  .disk = *disk_,
                                  .clock = clock_,
                                  .bytes_max = bytes_max_});
    ASSERT_TRUE(files) << files.error().message;
    files_ = std::move(*files);
    auto batches = BatchService::open(
        {.files = *files_,
         .writes = *writes_,
         .disk = *disk_,
         .jobs = jobs_,
         .clock = clock_,
         .queue_now = [this] { return clock_.now(); },
         .model_exists = [this](const std::string& model) { return models_.contains(model); },
         .on_end =
             [this](storage::Database&, const BatchRecord& batch) {
               written_.push_back(batch.state);
               return Result<void>();
             },
         .ended = [this](const BatchRecord& batch) { told_.push_back(batch); },
         .lines_max = lines_max_,
         .lines_queued = lines_queued_});
    ASSERT_TRUE(batches) << batches.error().message;
    batches_ = std::move(*batches);
    jobs_.ended = [this](std::int64_t batch, domain::JobState state) {
      batches_->line_ended(batch, state);
    };
  }
  // As after kill -9: what was handed over and not heard of is lost.
  void close() {
    jobs_.ended = nullptr;
    loop_.forget();
    batches_.reset();
    files_.reset();
    disk_.reset();
    writes_.reset();
    loop_.forget();
  }
  void restart() {
    close();
    open();
  }

  Result<FileRecord> upload(const std::string& text, FileWish wish = {"in.jsonl", "batch", {}}) {
    std::optional<Result<FileRecord>> kept;
    files_->begin(FileOrigin::Uploaded, [&, wish](Result<FileStore::Draft> draft) {
      if (!draft) {
        kept = draft.error();
        return;
      }
      files_->append(*draft, text, [&, wish, draft = *draft](Result<void> written) {
        if (!written)
          kept = written.error();
        else
          files_->keep(draft, wish, [&](Result<FileRecord> record) { kept = std::move(record); });
      });
    });
    EXPECT_TRUE(loop_.run_until([&] { return kept.has_value(); }));
    return *kept;
  }
  Result<BatchRecord> create(const std::string& input_file) {
    std::optional<Result<BatchRecord>> made;
    batches_->create({.endpoint = "/v1/chat/completions",
                      .input_file = input_file,
                      .traceparent = "trace-1",
                      .with = with_},
                     [&](Result<BatchRecord> record) { made = std::move(record); });
    EXPECT_TRUE(loop_.run_until([&] { return made.has_value(); }));
    return *made;
  }
  BatchRecord run_to(std::int64_t id, BatchState state) {
    const bool there =
        loop_.run_until([&] { return batches_->find(id) && batches_->find(id)->state == state; });
    const BatchRecord record = *batches_->find(id);
    EXPECT_TRUE(there) << "is " << to_string(record.state);
    return record;
  }
  std::string content(const std::string& file_id) {
    const std::optional<FileRecord> record = files_->find(file_id);
    EXPECT_TRUE(record) << file_id;
    if (!record) return {};
    std::ifstream in(*files_->hold(*record), std::ios::binary);
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
  }
  // What lies in the folder, but for what is on its way.
  std::size_t contents() const {
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder_))
      count += entry.is_regular_file() ? 1 : 0;
    return count;
  }
  static std::string line(std::uint64_t number, const std::string& model = "fn") {
    return fmt::format(R"({{"custom_id":"id-{}","method":"POST","url":"/v1/chat/completions",)"
                       R"("body":{{"model":"{}","messages":[]}}}})"
                       "\n",
                       number, model);
  }
  static std::string lines(std::uint64_t count) {
    std::string text;
    for (std::uint64_t i = 1; i <= count; ++i) text += line(i);
    return text;
  }
  static std::size_t line_count(const std::string& text) {
    return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
  }

  std::string root_ = storage::make_test_root(), folder_ = root_ + "/files";
  ManualClock clock_;
  TestLoop loop_;
  FakeJobs jobs_;
  std::set<std::string> models_{"fn"};
  std::vector<BatchRecord> told_;
  decltype(BatchWish::with) with_;
  std::vector<BatchState> written_;  // on the writer's thread, before it is told
  std::uint64_t bytes_max_ = 64 << 20;
  std::size_t lines_max_ = 5'000, lines_queued_ = 600;
  std::unique_ptr<storage::WriteLoop> writes_;
  std::unique_ptr<DiskThread> disk_;
  std::unique_ptr<FileStore> files_;
  std::unique_ptr<BatchService> batches_;
};

}  // namespace glowplug::queue
