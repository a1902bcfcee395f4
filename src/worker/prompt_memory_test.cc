#include "worker/prompt_memory.h"

#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <sys/ioctl.h>

#include "worker/test_prompt_memory.h"

namespace glowplug::worker {
namespace {

TEST_F(PromptMemoryTest, PromptThatASlotHolds_AsksForNothing) {
  PromptMemory memory(2, StateKind::may_be_cut());
  memory.serve(worker.get(), engine);
  int slot = -1;
  {
    const auto placed = memory.place(run(1, 500), Keep::Yes);
    slot = placed.slot();
  }
  remember(7, run(1, 500));
  const auto placed = memory.place(run(1, 510), Keep::Yes);
  EXPECT_EQ(placed.slot(), slot);
  EXPECT_EQ(placed.restored_in().count(), 0);
  EXPECT_TRUE(engine.words.empty());
  server.reset();
}

TEST_F(PromptMemoryTest, RememberedPrompt_IsFetchedAndRestoredBeforeTheCall) {
  PromptMemory memory(2, StateKind::may_be_cut());
  memory.serve(worker.get(), engine);
  remember(7, run(1, 500));
  std::thread answer([this] {
    EXPECT_EQ(heard(), R"({"state":"wants","id":7})");
    order(R"({"give":7})", {memory_file("the state").get()});
  });
  {
    const auto placed = memory.place(run(1, 400), Keep::Yes);
    EXPECT_EQ(engine.words.at(placed.slot()), "the state");
  }
  answer.join();
  const auto again = memory.place(run(1, 410), Keep::Yes);  // the slot has nearly all of it
  EXPECT_EQ(engine.words.size(), 1u);
  server.reset();
}

TEST_F(PromptMemoryTest, FourCallsAtOnceForOneState_AllAreRestored) {
  PromptMemory memory(4, StateKind::may_be_cut());
  memory.serve(worker.get(), engine);
  remember(7, run(1, 500));
  std::thread answer([this] {
    while (heard() == R"({"state":"wants","id":7})")
      order(R"({"give":7})", {memory_file("the state").get()});
  });
  std::vector<PromptMemory::Placed> placed(4);
  std::vector<std::thread> calls;
  for (auto& mine : placed)
    calls.emplace_back([&memory, &mine] { mine = memory.place(run(1, 400), Keep::Yes); });
  for (std::thread& call : calls) call.join();
  ::shutdown(worker.get(), SHUT_WR);
  answer.join();
  EXPECT_EQ(engine.words.size(), 4u);
  for (const auto& [slot, word] : engine.words) EXPECT_EQ(word, "the state");
  server.reset();
}

TEST_F(PromptMemoryTest, StateIsGone_PromptIsComputed) {
  PromptMemory memory(2, StateKind::may_be_cut());
  memory.serve(worker.get(), engine);
  remember(7, run(1, 500));
  std::thread answer([this] {
    heard();
    order(R"({"give":7})", {memory_file().get()});
  });
  EXPECT_GE(memory.place(run(1, 400), Keep::Yes).slot(), 0);
  answer.join();
  memory.place(run(1, 400), Keep::Yes);  // does not ask again
  EXPECT_TRUE(engine.words.empty());
  server.reset();
}

TEST_F(PromptMemoryTest, RestoreFails_SlotCountsAsEmpty) {
  engine.failing = true;
  PromptMemory memory(1, StateKind::may_be_cut());
  memory.add_prime(run(1, 100), memory_file("prime"));
  memory.serve(worker.get(), engine);
  { EXPECT_EQ(memory.place(run(1, 200), Keep::Yes).slot(), 0); }
  server.reset();
}

TEST_F(PromptMemoryTest, PrimeThatNoSlotHolds_IsRestoredWithoutTheServer) {
  PromptMemory memory(1, StateKind::may_be_cut());
  memory.add_prime(run(1, 100), memory_file("prime"));
  memory.holds(0, run(1, 100));
  memory.serve(worker.get(), engine);
  { memory.place(run(5000, 50), Keep::Yes); }
  EXPECT_TRUE(engine.words.empty());
  { memory.place(run(1, 120), Keep::Yes); }
  EXPECT_EQ(engine.words.at(0), "prime");
  server.reset();
}

TEST_F(PromptMemoryTest, StatesThatCannotBeCut_AreOnlyRestoredWhole) {
  PromptMemory memory(2, StateKind::whole());
  memory.add_prime(run(1, 100), memory_file("prime"));
  memory.serve(worker.get(), engine);
  { memory.place(run(1, 50), Keep::Yes); }
  EXPECT_TRUE(engine.words.empty());
  { memory.place(run(1, 101), Keep::Yes); }
  EXPECT_EQ(engine.words.size(), 1u);
  server.reset();
}

TEST_F(PromptMemoryTest, KeepOrder_CopiesLongPromptsOnce) {
  PromptMemory memory(3, StateKind::may_be_cut());
  memory.serve(worker.get(), engine);
  int slot = -1;
  {
    auto kept = memory.place(run(1, 300), Keep::Yes);
    kept.computed();
    slot = kept.slot();
    const auto brief = memory.place(run(1000, 20), Keep::Yes);
    memory.place(run(2000, 300), Keep::No).computed();
  }
  engine.words[slot] = "state";
  const UniqueFd one = memory_file(), two = memory_file(), three = memory_file();
  order(R"({"keep":"idle"})", {one.get(), two.get(), three.get()});
  EXPECT_EQ(heard(), R"({"state":"kept","count":1})");
  EXPECT_EQ(bytes_of(one.get()), "state");
  order(R"({"keep":"idle"})", {two.get()});
  EXPECT_EQ(heard(), R"({"state":"kept","count":0})");
  server.reset();
}

TEST_F(PromptMemoryTest, KeepOrderBeforeTheSlotIsGivenBack_WaitsForIt) {
  PromptMemory memory(2, StateKind::may_be_cut());
  memory.serve(worker.get(), engine);
  {
    auto placed = memory.place(run(1, 300), Keep::Yes);
    placed.computed();
    order(R"({"keep":"idle"})", {memory_file().get()});
    for (int waiting = 1; waiting > 0;) {  // until the order is taken
      ASSERT_EQ(::ioctl(worker.get(), FIONREAD, &waiting), 0);
      std::this_thread::yield();
    }
  }
  EXPECT_EQ(heard(), R"({"state":"kept","count":1})");
  server.reset();
}

TEST_F(PromptMemoryTest, SaveFails_NothingIsKept) {
  PromptMemory memory(1, StateKind::may_be_cut());
  memory.serve(worker.get(), engine);
  memory.place(run(1, 300), Keep::Yes).computed();
  engine.failing = true;
  EXPECT_EQ(keep(), R"({"state":"kept","count":0})");
  EXPECT_EQ(memory.place(run(1, 300), Keep::Yes).slot(), 0);
  server.reset();
}

TEST_F(PromptMemoryTest, NotToBeStoredInSlotsOfTheEnginesChoice_NothingIsKept) {
  PromptMemory memory(1, StateKind::may_be_cut());
  memory.serve(worker.get(), engine);
  memory.place(run(1, 300), Keep::Yes).computed();
  EXPECT_FALSE(memory.leave_to_engine(Keep::No));
  EXPECT_EQ(keep(), R"({"state":"kept","count":0})");
  server.reset();
}

// Whatever the slot held before may be what no copy may be made of.
TEST_F(PromptMemoryTest, CallThatWasNotComputed_NothingIsKept) {
  PromptMemory memory(1, StateKind::may_be_cut());
  memory.serve(worker.get(), engine);
  memory.place(run(2000, 300), Keep::No).computed();
  { const auto refused = memory.place(run(1, 300), Keep::Yes); }
  EXPECT_EQ(keep(), R"({"state":"kept","count":0})");
  server.reset();
}

TEST_F(PromptMemoryTest, GivenBackAfterASecretOfTheEnginesChoice_NothingIsKept) {
  PromptMemory memory(1, StateKind::may_be_cut());
  memory.serve(worker.get(), engine);
  {
    auto streamed = memory.place(run(1, 300), Keep::Yes);
    streamed.computed();
    EXPECT_FALSE(memory.leave_to_engine(Keep::No));
  }
  EXPECT_EQ(keep(), R"({"state":"kept","count":0})");
  server.reset();
}

TEST_F(PromptMemoryTest, SlotHoldsAnotherPromptThanTold_NothingIsKept) {
  PromptMemory memory(1, StateKind::may_be_cut());
  memory.serve(worker.get(), engine);
  memory.place(run(1, 300), Keep::Yes).computed();
  engine.saved = run(2000, 300);
  EXPECT_EQ(keep(), R"({"state":"kept","count":0})");
  server.reset();
}

TEST_F(PromptMemoryTest, TableCutShort_WholeEntriesCount) {
  PromptMemory memory(1, StateKind::may_be_cut());
  memory.serve(worker.get(), engine);
  order(R"({"remember":true})", {memory_file(std::string(13, '\x7f')).get()});
  EXPECT_EQ(memory.place(run(1, 300), Keep::Yes).slot(), 0);
  EXPECT_TRUE(engine.words.empty());
  server.reset();
}

TEST_F(PromptMemoryTest, AllSlotsTaken_EngineChooses) {
  PromptMemory memory(1, StateKind::may_be_cut());
  const auto first = memory.place(run(1, 3), Keep::Yes);
  EXPECT_EQ(memory.place(run(1, 3), Keep::Yes).slot(), -1);
}

// ---- models with a sliding window

TEST_F(PromptMemoryTest, CopyLongerThanTheWindow_HelpsOnlyAPromptThatGoesOn) {
  PromptMemory memory(1, StateKind::window(299));
  memory.serve(worker.get(), engine);
  memory.add_prime(run(1, 300), memory_file("copy"));
  EXPECT_FALSE(memory.place(run(1, 200), Keep::Yes).afresh());
  EXPECT_EQ(engine.words[0], "");
  EXPECT_FALSE(memory.place(run(1, 310), Keep::Yes).afresh());
  EXPECT_EQ(engine.words[0], "copy");
  server.reset();
}

TEST_F(PromptMemoryTest, CopyWithinTheWindow_MayBeCut) {
  PromptMemory memory(1, StateKind::window(300));
  memory.serve(worker.get(), engine);
  memory.add_prime(run(1, 300), memory_file("copy"));
  EXPECT_FALSE(memory.place(run(1, 200), Keep::Yes).afresh());
  EXPECT_EQ(engine.words[0], "copy");
  server.reset();
}

TEST_F(PromptMemoryTest, SlotOfACopyWithoutItsBeginning_IsNotCutIntoIt) {
  PromptMemory memory(1, StateKind::window(100));
  memory.holds(0, run(1, 300));
  memory.serve(worker.get(), engine);
  const auto asked = [&memory](int count) {
    auto placed = memory.place(run(1, count), Keep::Yes);
    placed.computed();
    return placed.afresh();
  };
  EXPECT_FALSE(asked(320));
  EXPECT_FALSE(asked(310));
  EXPECT_FALSE(asked(301));
  EXPECT_TRUE(memory.leave_to_engine(Keep::Yes));
  EXPECT_TRUE(asked(300)) << "its last token is computed again";
  EXPECT_FALSE(asked(200)) << "all of it was computed here";
  EXPECT_FALSE(memory.leave_to_engine(Keep::Yes));
  server.reset();
}

TEST_F(PromptMemoryTest, SlotOfACopyOfARecurrentModel_IsTheEnginesMatter) {
  PromptMemory memory(1, StateKind::whole());
  memory.holds(0, run(1, 300));
  memory.serve(worker.get(), engine);
  EXPECT_FALSE(memory.place(run(1, 200), Keep::Yes).afresh());
  EXPECT_FALSE(memory.leave_to_engine(Keep::Yes));
  server.reset();
}

}  // namespace
}  // namespace glowplug::worker
