#include "models/prompt_store.h"

#include <algorithm>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "domain/errors.h"
#include "domain/limits.h"
#include "models/test_states.h"

namespace glowplug::models {
namespace {

using ::testing::HasSubstr;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

TEST(PromptStore, KeptState_ComesBackByteForByte) {
  StateWorld world;
  PromptStore& store = world.open();
  for (const std::size_t data_bytes : {0u, 1u, 15u, 16u, 262'144u, 262'145u, 600'000u}) {
    const Tokens tokens{static_cast<std::int32_t>(data_bytes), -1, 7};
    const std::uint64_t id = StateWorld::keep(store, tokens, data_bytes);
    ASSERT_NE(id, 0u);
    EXPECT_EQ(loaded(store, id), engine_text(tokens, data_bytes)) << data_bytes;
    ASSERT_TRUE(store.drop(id).ok());
  }
}

TEST(PromptStore, Restart_FindsWhatWasKept) {
  StateWorld world;
  const std::uint64_t id = StateWorld::keep(world.open(), {1, 2, 3}, 1000);
  PromptStore& again = world.open();
  ASSERT_EQ(again.list().size(), 1u);
  EXPECT_EQ(again.list()[0].tokens, 3u);  // known from the header, before any list is decrypted
  const auto states = again.remembered(kAnn, kFit);
  ASSERT_EQ(states.size(), 1u);
  EXPECT_EQ(states[0].id, id);
  EXPECT_EQ(states[0].tokens, (Tokens{1, 2, 3}));
  EXPECT_EQ(states[0].bytes, fs::file_size(world.files()[0]));
  EXPECT_EQ(loaded(again, id), engine_text({1, 2, 3}, 1000));
}

TEST(PromptStore, LoadedState_CannotBeChangedAndBeginsAtZero) {
  StateWorld world;
  PromptStore& store = world.open();
  const std::uint64_t id = StateWorld::keep(store, {1, 2, 3});
  const auto fd = store.load(kAnn, kFit, id);
  ASSERT_TRUE(fd.ok());
  EXPECT_EQ(::lseek(fd->get(), 0, SEEK_CUR), 0);
  EXPECT_EQ(::fcntl(fd->get(), F_GET_SEALS),
            F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
  const std::string path = "/proc/self/fd/" + std::to_string(fd->get());
  const UniqueFd writable(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  EXPECT_EQ(::write(writable.get(), "x", 1), -1);
}

TEST(PromptStore, OnDisk_NothingOfTheConversationIsReadable) {
  StateWorld world;
  PromptStore& store = world.open();
  const std::string secret = "the patient's name";
  std::string text = engine_text({11, 22, 33, 44, 55, 66}, 0) + secret;
  ASSERT_TRUE(store.keep(kAnn, kFit, memory_file(text).get()).ok());
  const std::string file = file_text(world.files()[0]);
  EXPECT_EQ(file.find(secret), std::string::npos);
  EXPECT_EQ(file.find(text.substr(12, 24)), std::string::npos);  // the tokens
}

TEST(PromptStore, SameStateTwice_IsSealedDifferently) {
  StateWorld world;
  PromptStore& store = world.open();
  StateWorld::keep(store, {1, 2, 3});
  StateWorld::keep(store, {1, 2, 3}, 100, kAnnElsewhere);
  const auto files = world.files();
  ASSERT_EQ(files.size(), 2u);
  const std::string one = file_text(files[0]), other = file_text(files[1]);
  EXPECT_NE(one.substr(one.size() - 132), other.substr(other.size() - 132));
}

TEST(PromptStore, ConversationGrew_TheNewStateReplacesTheOld) {
  StateWorld world;
  PromptStore& store = world.open();
  StateWorld::keep(store, {1, 2});
  const std::uint64_t other = StateWorld::keep(store, {1, 9});
  const std::uint64_t grown = StateWorld::keep(store, {1, 2, 3});
  StateIds both{other, grown};
  std::sort(both.begin(), both.end());
  EXPECT_EQ(ids_of(store), both);
  EXPECT_EQ(world.files().size(), 2u);
  EXPECT_EQ(store.counts().replaced, 1u);
  EXPECT_EQ(store.counts().evicted, 0u);
}

TEST(PromptStore, AfterRestart_ConversationThatGrewReplacesTheOld) {
  StateWorld world;
  StateWorld::keep(world.open(), {1, 2});
  PromptStore& again = world.open();
  const std::uint64_t grown = StateWorld::keep(again, {1, 2, 3});  // nobody asked before
  EXPECT_EQ(ids_of(again), StateIds{grown});
}

TEST(PromptStore, EqualTokens_TheOldStaysAndItsUseIsNoted) {
  StateWorld world;
  PromptStore& store = world.open();
  const std::uint64_t first = StateWorld::keep(store, {1, 2});
  world.now += 60;
  EXPECT_EQ(StateWorld::keep(store, {1, 2}), first);
  ASSERT_EQ(store.list().size(), 1u);
  EXPECT_EQ(store.list()[0].uses, 1u);
  EXPECT_EQ(store.list()[0].last_used, world.now);
  EXPECT_EQ(store.counts().kept, 1u);
}

TEST(PromptStore, OverBudget_TheLeastValuableGoes) {
  StateWorld world;
  world.options.budget_bytes = 35'000;
  PromptStore& store = world.open();
  const std::uint64_t old = StateWorld::keep(store, {1}, 10'000);
  world.now += 10;
  const std::uint64_t unused = StateWorld::keep(store, {2}, 10'000);
  const std::uint64_t fresh = StateWorld::keep(store, {3}, 10'000);
  for (int i = 0; i < 40; ++i) loaded(store, old);
  loaded(store, fresh);
  const std::uint64_t last = StateWorld::keep(store, {4}, 10'000);
  StateIds stay{old, fresh, last};
  std::sort(stay.begin(), stay.end());
  EXPECT_EQ(ids_of(store), stay);
  EXPECT_EQ(loaded(store, unused), domain::error::kNotFound);
  EXPECT_EQ(store.counts().evicted, 1u);
  EXPECT_LE(store.counts().bytes_held, world.options.budget_bytes);
  EXPECT_EQ(world.files().size(), 3u);
}

TEST(PromptStore, LargerThanTheBudget_IsRefusedAndNothingGoes) {
  StateWorld world;
  world.options.budget_bytes = 20'000;
  PromptStore& store = world.open();
  const std::uint64_t small = StateWorld::keep(store, {1}, 10'000);
  const auto refused = store.keep(kAnn, kFit, memory_file(engine_text({2}, 20'000)).get());
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, domain::error::kDiskFull);
  EXPECT_THAT(refused.error().message, HasSubstr("of a budget of 20000"));
  EXPECT_EQ(store.counts().refused_for(StateRefusal::TooLarge), 1u);
  EXPECT_EQ(ids_of(store), StateIds{small});
}

TEST(PromptStore, BudgetMadeSmaller_HoldsAfterRestart) {
  StateWorld world;
  PromptStore& store = world.open();
  StateWorld::keep(store, {1}, 10'000);
  world.now += 10;
  const std::uint64_t later = StateWorld::keep(store, {2}, 10'000);
  world.options.budget_bytes = 15'000;
  EXPECT_EQ(ids_of(world.open()), StateIds{later});
  EXPECT_EQ(world.files().size(), 1u);
}

TEST(PromptStore, TimeToLive_RunsFromTheLastUse) {
  StateWorld world;
  world.options.ttl = 60s;
  PromptStore& store = world.open();
  const std::uint64_t used = StateWorld::keep(store, {1});
  StateWorld::keep(store, {2});
  world.now += 40;
  loaded(store, used);
  world.now += 21;
  EXPECT_EQ(ids_of(store), StateIds{used});
  EXPECT_EQ(store.counts().expired, 1u);
  EXPECT_EQ(world.files().size(), 1u);
  world.now += 39;
  EXPECT_EQ(ids_of(world.open()), StateIds{used});  // the use outlived the restart
  world.now += 1;
  EXPECT_EQ(loaded(world.open(), used), domain::error::kNotFound);
  EXPECT_EQ(world.files().size(), 0u);
}

TEST(PromptStore, Dropped_IsGoneForGood) {
  StateWorld world;
  PromptStore& store = world.open();
  const std::uint64_t id = StateWorld::keep(store, {1});
  EXPECT_TRUE(store.drop(id).ok());
  EXPECT_TRUE(store.drop(id).ok());
  EXPECT_EQ(loaded(store, id), domain::error::kNotFound);
  EXPECT_EQ(ids_of(world.open()), StateIds{});
}

TEST(PromptStore, CrashLeftovers_AreRemovedAndForeignFilesAreNot) {
  StateWorld world;
  const std::uint64_t id = StateWorld::keep(world.open(), {1});
  world.close();
  const std::string file = world.files()[0];
  write_file(file + ".00ff.tmp", "half a state");
  write_file(world.states() + "/notes.txt", "not ours");
  EXPECT_EQ(ids_of(world.open()), StateIds{id});
  EXPECT_FALSE(fs::exists(file + ".00ff.tmp"));
  EXPECT_TRUE(fs::exists(world.states() + "/notes.txt"));
}

TEST(PromptStore, DiskFull_IsAnErrorAndLeavesNothing) {
  StateWorld world;
  PromptStore& store = world.open();
  const std::uint64_t before = StateWorld::keep(store, {1});
  const UniqueFd large = memory_file(engine_text({1, 2}, 200'000));
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  const auto old_action = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{.rlim_cur = 50'000, .rlim_max = old.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto kept = store.keep(kAnn, kFit, large.get());
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &old), 0);
  std::signal(SIGXFSZ, old_action);
  ASSERT_FALSE(kept.ok());
  EXPECT_EQ(kept.error().code, domain::error::kDiskFull);
  EXPECT_EQ(world.files().size(), 1u);
  EXPECT_EQ(ids_of(store), StateIds{before});  // what it would have replaced is still there
  EXPECT_EQ(store.counts().refused_for(StateRefusal::Unreadable), 1u);
  EXPECT_TRUE(store.keep(kAnn, kFit, large.get()).ok());
}

TEST(PromptStore, FolderGone_IsAnErrorAndNothingIsHeld) {
  StateWorld world;
  PromptStore& store = world.open();
  fs::remove_all(world.states());
  const auto kept = store.keep(kAnn, kFit, memory_file(engine_text({1}, 10)).get());
  ASSERT_FALSE(kept.ok());
  EXPECT_EQ(kept.error().code, domain::error::kStorageFailed);
  EXPECT_EQ(store.counts().states, 0u);
}

TEST(PromptStore, FileThatCannotBeSealed_IsCopiedFirst) {
  StateWorld world;
  PromptStore& store = world.open();
  const std::string text = engine_text({1, 2}, 5000);
  const auto plain = store.keep(kAnn, kFit, memory_file(text, 0).get());
  ASSERT_TRUE(plain.ok());
  EXPECT_EQ(loaded(store, *plain), text);

  const std::string other = engine_text({5, 6}, 5000);
  const UniqueFd mapped = memory_file(other);
  void* map = ::mmap(nullptr, other.size(), PROT_READ | PROT_WRITE, MAP_SHARED, mapped.get(), 0);
  ASSERT_NE(map, MAP_FAILED);
  const auto kept = store.keep(kAnn, kFit, mapped.get());
  ::munmap(map, other.size());
  ASSERT_TRUE(kept.ok());
  EXPECT_EQ(loaded(store, *kept), other);
}

TEST(PromptStore, CallersFile_StaysWhereItIs) {
  StateWorld world;
  PromptStore& store = world.open();
  const UniqueFd fd = memory_file(engine_text({1}, 10));
  const off_t before = ::lseek(fd.get(), 5, SEEK_SET);
  ASSERT_TRUE(store.keep(kAnn, kFit, fd.get()).ok());
  EXPECT_EQ(::lseek(fd.get(), 0, SEEK_CUR), before);
}

TEST(PromptStore, SecondStoreOnOneFolder_IsRefused) {
  StateWorld world;
  world.open();
  const auto second = world.try_open();
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(second.error().message, HasSubstr("in use by another server"));
}

TEST(PromptStore, MasterKeyElsewhere_IsNotInTheFolder) {
  StateWorld world;
  TestFolder vault;
  world.options.master_key_file = vault.path() + "/prompts.key";
  const std::uint64_t id = StateWorld::keep(world.open(), {1});
  EXPECT_FALSE(fs::exists(world.options.folder + "/master.key"));
  EXPECT_EQ(ids_of(world.open()), StateIds{id});
  fs::permissions(world.options.master_key_file, fs::perms(0644));
  world.close();
  const auto refused = world.try_open();
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(refused.error().message, HasSubstr("chmod 600"));
  EXPECT_EQ(world.files().size(), 1u);  // nothing is thrown away for a fault that a command mends
}

TEST(PromptStore, LastUsedOnes_ComeFromMemoryWithoutTheDisk) {
  StateWorld world;
  world.options.memory_bytes = 5'000;
  PromptStore& store = world.open();
  const std::uint64_t first = StateWorld::keep(store, {1, 2}, 3'000);
  world.now += 10;
  const std::uint64_t second = StateWorld::keep(store, {3, 4}, 3'000);  // pushes the first one out
  EXPECT_GT(store.counts().memory_held, 3'000u);
  EXPECT_LT(store.counts().memory_held, 5'000u);
  for (const std::string& file : world.files()) write_file(file, "damaged");
  EXPECT_EQ(loaded(store, second), engine_text({3, 4}, 3'000));
  EXPECT_NE(loaded(store, first), engine_text({1, 2}, 3'000));
}

TEST(PromptStore, LoadedFromTheDisk_IsInMemoryTheNextTime) {
  StateWorld world;
  world.options.memory_bytes = 1 << 20;
  const std::uint64_t id = StateWorld::keep(world.open(), {1, 2}, 3'000);
  PromptStore& store = world.open();
  EXPECT_EQ(store.counts().memory_held, 0u);
  EXPECT_EQ(loaded(store, id), engine_text({1, 2}, 3'000));
  write_file(world.files()[0], "damaged");
  EXPECT_EQ(loaded(store, id), engine_text({1, 2}, 3'000));
}

TEST(PromptStore, ForgottenTenantsState_IsNotInMemoryEither) {
  StateWorld world;
  world.options.memory_bytes = 1 << 20;
  PromptStore& store = world.open();
  const std::uint64_t id = StateWorld::keep(store, {1, 2}, 3'000);
  ASSERT_TRUE(store.forget_tenant(kAnn.tenant).ok());
  EXPECT_EQ(store.counts().memory_held, 0u);
  EXPECT_NE(loaded(store, id), engine_text({1, 2}, 3'000));
}

TEST(PromptStore, Descriptors_AreNotLeaked) {
  StateWorld world;
  world.options.memory_bytes = 1 << 20;
  world.open();
  const std::size_t before = open_descriptors();
  PromptStore& store = world.open();
  for (int i = 0; i < 5; ++i) {
    const std::uint64_t id = StateWorld::keep(store, {i, 1});
    loaded(store, id);
    loaded(store, id, kBob);
    StateWorld::keep(store, {i, 1});
    (void)store.keep(kAnn, kFit, memory_file("not a state").get());
    (void)store.keep(kAnn, kFit, memory_file(engine_text({i, 2}, 10), 0).get());
    (void)store.keep(kAnn, kFit, memory_file(engine_text({i}, 2 << 20)).get());  // over the budget
    ids_of(store);
  }
  write_file(world.files()[0], "damaged");
  ids_of(world.open());
  EXPECT_EQ(open_descriptors(), before);
}

}  // namespace
}  // namespace glowplug::models
