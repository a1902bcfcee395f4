#include "storage/read_loop.h"

#include <future>
#include <thread>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "storage/test_store.h"

namespace glowplug::storage {
namespace {

using ::testing::ElementsAre;

class ReadLoopTest : public StoreTest {
 protected:
  ReadLoopTest() {
    open();
    auto opened = ReadLoop::open(
        writer_->path(), [this](std::function<void()> call) { inbox_.put(std::move(call)); });
    EXPECT_TRUE(opened);
    reader_ = std::move(*opened);
  }
  ~ReadLoopTest() override { reader_.reset(); }

  static Result<std::int64_t> functions(Database& database) {
    auto count = database.prepare("SELECT count(*) FROM functions");
    if (!count) return count.error();
    if (auto row = count->step(); !row) return row.error();
    return count->number(0);
  }
  void read_count() {
    reader_->post(
        [this](Database& database) -> Result<void> {
          const auto count = functions(database);
          if (!count) return count.error();
          seen_ = *count;
          return {};
        },
        [this](const Result<void>& outcome) {
          heard_.push_back(outcome ? std::to_string(seen_) : outcome.error().code);
        });
  }
  // The reader stands in a read from here to let_go().
  void hold() {
    const auto entered = std::make_shared<std::promise<void>>();
    reader_->post(
        [entered, held = held_.get_future().share()](Database&) -> Result<void> {
          entered->set_value();
          held.wait();
          return {};
        },
        {});
    entered->get_future().wait();
  }
  void let_go() { std::exchange(held_, {}).set_value(); }
  bool drain(std::size_t count) {
    return inbox_.drain_until([this, count] { return heard_.size() >= count; });
  }

  std::unique_ptr<ReadLoop> reader_;
  std::promise<void> held_;
  std::int64_t seen_ = 0;
  std::vector<std::string> heard_;
};

TEST_F(ReadLoopTest, WhatWasCommittedBefore_IsSeen) {
  for (int n = 1; n <= 20; ++n) {
    ASSERT_TRUE(store_->put(fmt::format("f{}", n), 1, "{}"));
    read_count();
    ASSERT_TRUE(drain(static_cast<std::size_t>(n)));
    EXPECT_EQ(heard_.back(), std::to_string(n));
  }
}

TEST_F(ReadLoopTest, OneRead_SeesOneMomentWhileOthersWrite) {
  std::int64_t before = -1, after = -1;
  bool done = false;
  reader_->post(
      [this, &before, &after](Database& database) -> Result<void> {
        before = functions(database).value();
        EXPECT_TRUE(store_->put("f", 1, "{}"));  // is not held up by the read
        after = functions(database).value();
        return {};
      },
      [&done](const Result<void>& outcome) { done = outcome.ok(); });
  ASSERT_TRUE(inbox_.drain_until([&done] { return done; }));
  EXPECT_EQ(before, 0);
  EXPECT_EQ(after, 0);
  read_count();
  ASSERT_TRUE(drain(1));
  EXPECT_EQ(heard_.back(), "1");
}

TEST_F(ReadLoopTest, Writing_IsRefusedAndTheNextReadGoesOn) {
  reader_->post([](Database& database) { return database.execute("DELETE FROM functions"); },
                [this](const Result<void>& outcome) {
                  heard_.push_back(outcome ? "done" : outcome.error().code);
                });
  read_count();
  ASSERT_TRUE(drain(2));
  EXPECT_THAT(heard_, ElementsAre("storage_failed", "0"));
}

TEST_F(ReadLoopTest, TooManyWaiting_AreRefusedAtOnce) {
  hold();
  for (std::size_t n = 0; n < kReadsWaitingMax; ++n)
    reader_->post([](Database&) { return Result<void>(); }, {});
  read_count();
  ASSERT_TRUE(drain(1));
  EXPECT_THAT(heard_, ElementsAre("server_is_overloaded"));
  let_go();
}

TEST_F(ReadLoopTest, Destroyed_TellsThoseThatWait) {
  hold();
  read_count();
  std::promise<void> begun;
  std::thread ends([this, &begun] {
    begun.set_value();
    reader_.reset();
  });
  begun.get_future().wait();
  let_go();
  ends.join();
  ASSERT_TRUE(drain(1));
  EXPECT_THAT(heard_, ElementsAre(::testing::AnyOf("shutting_down", "0")));
}

TEST_F(ReadLoopTest, FileThatIsNotThere_IsAnError) {
  EXPECT_FALSE(ReadLoop::open(root_ + "/none.db", [](std::function<void()>) {}));
}

}  // namespace
}  // namespace glowplug::storage
