// A state file in a folder of its own with a writer that works when it is told to, for tests.
// Thread: one test.
#pragma once

#include <algorithm>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "metering/usage_log.h"
#include "storage/state_file.h"
#include "storage/test_root.h"
#include "storage/usage_store.h"

namespace glowplug::metering {

class LedgerTest : public testing::Test {
 protected:
  LedgerTest() {
    auto opened = storage::StateFile::open(root_ + "/data");
    EXPECT_TRUE(opened) << opened.error().message;
    if (opened) state_.emplace(std::move(*opened));
    open_log();
  }
  ~LedgerTest() override {
    log_.reset();
    state_.reset();
    std::filesystem::remove_all(root_);
  }

  // As after a kill -9: nothing is told to the old one, and what it had asked for is not done.
  void open_log() {
    waiting_.clear();
    log_.reset();
    auto opened = UsageLog::open({.folder = folder_,
                                  .write =
                                      [this](UsageLog::Work work, auto done) {
                                        waiting_.push_back({std::move(work), std::move(done)});
                                      },
                                  .wants_fold = [this] { ++wanted_; }});
    ASSERT_TRUE(opened) << opened.error().message;
    log_ = std::move(*opened);
  }

  Result<void> run(const UsageLog::Work& work) {
    if (database_fault_) return *database_fault_;
    auto transaction = storage::Transaction::begin(state_->database);
    if (!transaction) return transaction.error();
    if (auto done = work(state_->database); !done) return done;
    return transaction->commit();
  }
  Result<void> recover() {
    return log_->recover([this](const UsageLog::Work& work) { return run(work); });
  }
  // All that is posted, and what follows from it.
  void turn() {
    while (!waiting_.empty()) {
      const auto [work, done] = std::move(waiting_.front());
      waiting_.pop_front();
      done(run(work));
    }
  }
  void fold() {
    log_->fold();
    turn();
  }

  static storage::UsageRow row_of(const std::string& request, std::int64_t cost,
                                  const std::string& function = "chat") {
    return storage::usage_row({.request = request,
                               .job = {},
                               .function = function,
                               .revision = 1,
                               .at = WallTime(std::chrono::milliseconds(1'795'824'000'000)),
                               .terminal = "completed",
                               .completion_tokens = 2,
                               .cost = {cost}});
  }
  void call(const std::string& request, std::int64_t cost) {
    log_->begin({request, "chat", 1, WallTime{}});
    log_->close(row_of(request, cost));
  }

  storage::UsageSum total() {
    const auto sums = storage::sum_usage(state_->database, {});
    EXPECT_TRUE(sums) << sums.error().message;
    return sums && !sums->empty() ? sums->front() : storage::UsageSum{};
  }
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_))
      names.push_back(entry.path().string());
    std::sort(names.begin(), names.end());
    return names;
  }

  std::string root_ = storage::make_test_root(), folder_ = root_ + "/usage";
  std::optional<storage::StateFile> state_;
  std::optional<Error> database_fault_;
  std::deque<std::pair<UsageLog::Work, std::function<void(const Result<void>&)>>> waiting_;
  std::unique_ptr<UsageLog> log_;
  int wanted_ = 0;
};

}  // namespace glowplug::metering
