// A prompt store under several threads: states that are being written, and everything at once.
#include <atomic>
#include <future>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "domain/errors.h"
#include "domain/limits.h"
#include "models/prompt_store.h"
#include "models/sha256.h"
#include "models/test_states.h"

namespace glowplug::models {
namespace {

// keep() waits for the lock under which a tenant's key is made, and the test holds that lock.
class PromptPending : public ::testing::Test {
 protected:
  void SetUp() override {
    store_ = &world_.open();
    auto lock = FileLock::take(world_.options.folder + "/keys/" +
                               sha256_hex(kAnn.tenant).substr(0, 32) + ".key.lock");
    ASSERT_TRUE(lock.ok());
    held_.emplace(std::move(*lock));
  }
  std::future<Result<std::uint64_t>> start_keeping(const Tokens& tokens) {
    const std::uint64_t before = store_->counts().states;
    auto kept = std::async(std::launch::async, [this, tokens] {
      return store_->keep(kAnn, kFit, memory_file(engine_text(tokens, 1000)).get());
    });
    while (store_->counts().states == before) std::this_thread::yield();
    return kept;
  }

  StateWorld world_;
  PromptStore* store_ = nullptr;
  std::optional<FileLock> held_;
};

TEST_F(PromptPending, WhileItIsWritten_ItIsRememberedAndLoaded) {
  auto kept = start_keeping({1, 2});
  ASSERT_EQ(store_->list().size(), 1u);
  EXPECT_EQ(store_->list()[0].standing, StateStanding::Pending);
  const auto states = store_->remembered(kAnn, kFit);
  ASSERT_EQ(states.size(), 1u);
  EXPECT_EQ(states[0].tokens, (Tokens{1, 2}));
  EXPECT_TRUE(world_.files().empty());
  // Two at once, each with an offset of its own.
  const auto one = store_->load(kAnn, kFit, states[0].id);
  const auto two = store_->load(kAnn, kFit, states[0].id);
  ASSERT_TRUE(one.ok() && two.ok());
  EXPECT_EQ(text_of(one->get()), engine_text({1, 2}, 1000));
  EXPECT_EQ(text_of(two->get()), engine_text({1, 2}, 1000));
  const StateOwner other{.tenant = "ann", .domain = "key-2"};
  EXPECT_FALSE(store_->load(other, kFit, states[0].id).ok());

  held_.reset();
  ASSERT_TRUE(kept.get().ok());
  EXPECT_EQ(store_->list()[0].standing, StateStanding::Kept);
  EXPECT_EQ(store_->list()[0].uses, 2u);
  EXPECT_EQ(world_.open().remembered(kAnn, kFit).size(), 1u);
}

TEST_F(PromptPending, DroppedWhileItIsWritten_IsGone) {
  auto kept = start_keeping({1, 2});
  ASSERT_TRUE(store_->drop(store_->list()[0].id).ok());
  held_.reset();
  EXPECT_EQ(kept.get().error().code, domain::error::kNotFound);
  EXPECT_TRUE(world_.files().empty());
  EXPECT_TRUE(world_.open().remembered(kAnn, kFit).empty());
}

TEST_F(PromptPending, TenantForgottenWhileItIsWritten_IsGone) {
  auto kept = start_keeping({1, 2});
  ASSERT_TRUE(store_->forget_tenant("ann").ok());
  held_.reset();
  EXPECT_FALSE(kept.get().ok());
  EXPECT_TRUE(world_.files().empty());
}

TEST_F(PromptPending, SameStateMeanwhile_IsTheOneBeingWritten) {
  auto kept = start_keeping({1, 2});
  const auto again = store_->keep(kAnn, kFit, memory_file(engine_text({1, 2}, 1000)).get());
  ASSERT_TRUE(again.ok());
  held_.reset();
  EXPECT_EQ(*kept.get(), *again);
  EXPECT_EQ(world_.files().size(), 1u);
}

TEST_F(PromptPending, MoreThanMayBeWrittenAtOnce_AreRefused) {
  std::vector<std::future<Result<std::uint64_t>>> all;
  for (std::size_t i = 0; i < domain::kPromptStatesPendingMax; ++i)
    all.push_back(start_keeping({static_cast<std::int32_t>(i)}));
  EXPECT_EQ(StateWorld::keep(*store_, {77}), 0u);
  EXPECT_EQ(store_->counts().refused_for(StateRefusal::NoRoom), 1u);
  held_.reset();
  for (auto& one : all) EXPECT_TRUE(one.get().ok());
}

TEST(PromptThreads, AllAtOnce_EveryStateServedIsWhole) {
  StateWorld world;
  world.options.budget_bytes = 40'000;  // so that states go while others are read
  PromptStore& store = world.open();
  std::atomic<int> served = 0;
  const auto work = [&store, &served](int thread) {
    const StateOwner owner{.tenant = thread % 2 == 0 ? "ann" : "bob",
                           .domain = std::to_string(thread / 2 % 2)};
    for (int i = 0; i < 40; ++i) {
      Tokens tokens{thread % 3};
      for (int n = 0; n <= i % 5; ++n) tokens.push_back(n);
      StateWorld::keep(store, tokens, 3000, owner);
      for (const KeptState& state : store.remembered(owner, kFit)) {
        const auto fd = store.load(owner, kFit, state.id);
        if (!fd) continue;  // gone meanwhile
        EXPECT_EQ(text_of(fd->get()), engine_text(state.tokens, 3000));
        ++served;
      }
      if (i % 13 == 0 && thread == 0) { EXPECT_TRUE(store.forget_tenant("bob").ok()); }
      if (i % 7 != 0) continue;
      for (const StateSummary& row : store.list())
        if (row.owner == owner) (void)store.drop(row.id);
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) threads.emplace_back(work, i);
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(served.load(), 100);
  EXPECT_LE(store.counts().bytes_held, world.options.budget_bytes);
  EXPECT_EQ(world.files().size(), store.counts().states);
  const std::uint64_t states = store.counts().states;
  EXPECT_EQ(world.open().counts().states, states);
}

}  // namespace
}  // namespace glowplug::models
