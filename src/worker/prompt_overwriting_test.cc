// A call is about to overwrite a long prompt: it is copied first, where that may be and is worth
// it.
#include <future>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "worker/test_prompt_memory.h"

namespace glowplug::worker {
namespace {

// A slot that a call is about to overwrite; the server takes copies.
class Overwriting : public PromptMemoryTest {
 protected:
  static constexpr const char* kAsks = R"({"state":"overwriting"})";
  static constexpr const char* kKept = R"({"state":"kept","count":1})";
  using Said = std::vector<std::string>;

  void serve(PromptMemory& memory) {
    memory.serve(worker.get(), engine);
    remember(9, run(90'000, 10));
    memory.place({}, Keep::No);  // after the table
  }
  void hold(PromptMemory& memory, const std::vector<Token>& tokens) {
    auto placed = memory.place(tokens, Keep::Yes);
    placed.computed();
    engine.words[placed.slot()] = "state";
    engine.saved = tokens;
  }
  // What the server hears, and answers, for one call with this prompt. A line of our own ends it.
  Said said_for(PromptMemory& memory, std::vector<Token> prompt) {
    Said said;
    int answers = 0;
    std::thread server_loop([this, &said, &answers] {
      for (std::string line = heard(); line != "over" || answers > 0;) {
        if (line != "over") said.push_back(line);
        if (line == kAsks) {
          ++answers;
          order(R"({"keep":"overwriting"})", {file.get()});
        }
        if (line.find("kept") != std::string::npos && --answers == 0 && over_) break;
        if (line == "over") over_ = true;
        line = heard();
      }
    });
    { const auto placed = memory.place(std::move(prompt), Keep::Yes); }
    EXPECT_EQ(::send(worker.get(), "over\n", 5, MSG_NOSIGNAL), 5);
    server_loop.join();
    return said;
  }
  UniqueFd file = memory_file();

 private:
  bool over_ = false;
};

TEST_F(Overwriting, LongPromptWithoutACopy_IsCopiedFirst) {
  PromptMemory memory(1, StateKind::may_be_cut(), kNever);
  serve(memory);
  hold(memory, run(1, 300));
  EXPECT_EQ(said_for(memory, run(5000, 300)), (Said{kAsks, kKept}));
  EXPECT_EQ(bytes_of(file.get()), "state");
  server.reset();
}

TEST_F(Overwriting, CopyExists_NothingIsAsked) {
  PromptMemory memory(1, StateKind::may_be_cut(), kNever);
  serve(memory);
  hold(memory, run(1, 300));
  EXPECT_EQ(keep(), kKept);
  EXPECT_EQ(said_for(memory, run(5000, 300)), Said{});
  server.reset();
}

TEST_F(Overwriting, LittleIsLost_NothingIsAsked) {
  PromptMemory memory(1, StateKind::may_be_cut(), kNever);
  serve(memory);
  hold(memory, run(1, 500));
  EXPECT_EQ(said_for(memory, run(1, 400)), Said{});  // 100 tokens
  server.reset();
}

TEST_F(Overwriting, StateThatCannotBeCut_IsLostWhole) {
  PromptMemory memory(1, StateKind::whole(), kNever);
  serve(memory);
  hold(memory, run(1, 500));
  EXPECT_EQ(said_for(memory, run(1, 400)), (Said{kAsks, kKept}));
  server.reset();
}

TEST_F(Overwriting, MostOfItIsRemembered_NothingIsAsked) {
  PromptMemory memory(1, StateKind::may_be_cut(), kNever);
  memory.add_prime(run(1, 400), memory_file("prime"));
  serve(memory);
  hold(memory, run(1, 500));
  EXPECT_EQ(said_for(memory, run(5000, 300)), Said{});
  server.reset();
}

TEST_F(Overwriting, NotToBeStored_NothingIsAsked) {
  PromptMemory memory(1, StateKind::may_be_cut(), kNever);
  serve(memory);
  memory.place(run(1, 300), Keep::No).computed();
  EXPECT_EQ(said_for(memory, run(5000, 300)), Said{});
  server.reset();
}

TEST_F(Overwriting, ServerThatTakesNoCopies_IsNotAsked) {
  PromptMemory memory(1, StateKind::may_be_cut(), kNever);
  memory.serve(worker.get(), engine);
  hold(memory, run(1, 300));
  EXPECT_EQ(said_for(memory, run(5000, 300)), Said{});
  server.reset();
}

TEST_F(Overwriting, ServerThatIsGone_CallDoesNotWait) {
  PromptMemory memory(1, StateKind::may_be_cut(), kNever);  // else this test would hang
  serve(memory);
  hold(memory, run(1, 300));
  std::thread gone([this] {
    EXPECT_EQ(heard(), kAsks);
    server.reset();
  });
  EXPECT_EQ(memory.place(run(5000, 300), Keep::Yes).slot(), 0);
  gone.join();
}

TEST_F(Overwriting, NoOrderComes_LaterCallsDoNotWaitForOne) {
  PromptMemory memory(1, StateKind::may_be_cut(), 1ms);
  serve(memory);
  hold(memory, run(1, 300));
  hold(memory, run(5000, 300));
  EXPECT_EQ(heard(), kAsks);
  EXPECT_EQ(said_for(memory, run(9000, 300)), Said{});
  server.reset();
}

// The order comes when the call has gone on: the slot may hold what no copy may be made of.
TEST_F(Overwriting, OrderAfterTheCallHasGoneOn_CopiesNothing) {
  PromptMemory memory(1, StateKind::may_be_cut(), 1ms);
  serve(memory);
  hold(memory, run(1, 300));
  hold(memory, run(5000, 300));
  EXPECT_EQ(heard(), kAsks);
  order(R"({"keep":"overwriting"})", {file.get()});
  EXPECT_EQ(heard(), R"({"state":"kept","count":0})");
  EXPECT_EQ(keep(), kKept) << "an idle order still copies what is there now";
  server.reset();
}

TEST_F(Overwriting, CallGoesOnWhileItsSlotIsCopied_TheCopyDoesNotCount) {
  PromptMemory memory(1, StateKind::may_be_cut(), 1ms);
  serve(memory);
  hold(memory, run(1, 300));
  std::promise<void> overwritten;
  engine.meanwhile = [&overwritten] { overwritten.get_future().wait(); };
  std::thread server_loop([this] {
    EXPECT_EQ(heard(), kAsks);
    order(R"({"keep":"overwriting"})", {file.get()});
  });
  { memory.place(run(5000, 300), Keep::No).computed(); }
  server_loop.join();
  engine.saved = run(5000, 300);
  overwritten.set_value();
  EXPECT_EQ(heard(), R"({"state":"kept","count":0})");
  server.reset();
}

// A slot of the list is taken and given back while an earlier one is copied.
TEST_F(Overwriting, SlotGetsWhatMayNotBeCopiedMeanwhile_ItIsLeftOut) {
  PromptMemory memory(2, StateKind::may_be_cut(), kNever);
  serve(memory);
  hold(memory, run(5000, 300));
  hold(memory, run(1, 300));  // in the slot that is copied first
  engine.meanwhile = [&memory] { memory.place(run(5000, 310), Keep::No).computed(); };
  const UniqueFd one = memory_file(), two = memory_file();
  order(R"({"keep":"idle"})", {one.get(), two.get()});
  EXPECT_EQ(heard(), kKept);
  server.reset();
}

// An engine's own choice may put what may not be copied into a slot that a call waits for.
TEST_F(Overwriting, SecretOfTheEnginesChoiceMeanwhile_NothingIsCopied) {
  PromptMemory memory(1, StateKind::may_be_cut(), kNever);
  serve(memory);
  hold(memory, run(1, 300));
  std::thread server_loop([this, &memory] {
    EXPECT_EQ(heard(), kAsks);
    EXPECT_FALSE(memory.leave_to_engine(Keep::No));
    order(R"({"keep":"overwriting"})", {file.get()});
    EXPECT_EQ(heard(), R"({"state":"kept","count":0})");
  });
  { memory.place(run(5000, 300), Keep::Yes); }
  server_loop.join();
  server.reset();
}

}  // namespace
}  // namespace glowplug::worker
