// A state file in a folder of its own with its writer, for tests, and a second way into its
// database while it is closed. What the writer tells is heard where the test drains it: nothing of
// it runs beside the test.
// Thread: one test.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <sqlite3.h>

#include "storage/function_store.h"
#include "storage/state_file.h"
#include "storage/test_root.h"
#include "storage/write_loop.h"

namespace glowplug::storage {

// Calls from other threads, run by the one that drains them.
class TestInbox final {
 public:
  void put(std::function<void()> call) {
    {
      const std::lock_guard lock(mutex_);
      calls_.push_back(std::move(call));
    }
    changed_.notify_one();
  }
  void put_all(std::vector<std::function<void()>> calls) {
    for (auto& call : calls) put(std::move(call));
  }
  // Runs what comes until `reached`; false where it does not come within 20 s.
  bool drain_until(const std::function<bool()>& reached) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!reached()) {
      std::function<void()> call;
      {
        std::unique_lock lock(mutex_);
        if (!changed_.wait_until(lock, end, [this] { return !calls_.empty(); })) return false;
        call = std::move(calls_.front());
        calls_.pop_front();
      }
      call();
    }
    return true;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> calls_;
};

// Takes away what the fifth step of the schema and those after it have made.
inline constexpr const char* kWithoutQueue =
    "DROP TABLE queue_clock; DROP TABLE jobs; DROP TABLE idempotency; DROP TABLE usage;"
    "DROP TABLE usage_fold; DROP TABLE webhook_endpoints; DROP TABLE webhook_deliveries;"
    "DROP TABLE files; DROP TABLE batches; UPDATE schema_version SET version = 4";

class StoreTest : public ::testing::Test {
 protected:
  ~StoreTest() override {
    close();
    std::filesystem::remove_all(root_);
  }

  void open() {
    close();
    Result<StateFile> file = StateFile::open(data_);
    ASSERT_TRUE(file) << file.error().message;
    writer_ = std::make_unique<WriteLoop>(WriteLoop::Parts{
        .file = std::move(*file),
        .deliver = [this](auto calls) { inbox_.put_all(std::move(calls)); },
        .halted = [this](const Error& why) { inbox_.put([this, why] { halted_ = why; }); },
        .warn =
            [this](const auto& what) { inbox_.put([this, what] { warnings_.push_back(what); }); },
        .options = options_});
    store_ = std::make_unique<FunctionStore>(*writer_);
  }
  void close() {
    store_.reset();
    writer_.reset();
  }

  void execute(const std::string& sql) {
    std::filesystem::create_directories(data_);
    sqlite3* database = nullptr;
    ASSERT_EQ(sqlite3_open(file().c_str(), &database), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(database, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
        << sqlite3_errmsg(database);
    sqlite3_close(database);
  }
  std::string file() const { return data_ + "/glowplug.db"; }

  std::string root_ = make_test_root(), data_ = root_ + "/data";
  WriteOptions options_;  // of the next open()
  TestInbox inbox_;
  std::optional<Error> halted_;
  std::vector<std::string> warnings_;  // heard by whoever drains the inbox
  std::unique_ptr<WriteLoop> writer_;
  std::unique_ptr<FunctionStore> store_;
};

}  // namespace glowplug::storage
