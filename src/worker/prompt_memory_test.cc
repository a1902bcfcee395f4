#include "worker/prompt_memory.h"

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <map>
#include <numeric>
#include <thread>

#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "domain/limits.h"

namespace glowplug::worker {
namespace {

using Keep = SlotBook::Keep;

std::vector<Token> run(Token from, int count) {
  std::vector<Token> tokens(static_cast<std::size_t>(count));
  std::iota(tokens.begin(), tokens.end(), from);
  return tokens;
}

UniqueFd memory_file(const std::string& bytes = "") {
  UniqueFd fd(::memfd_create("test", MFD_CLOEXEC));
  EXPECT_EQ(::pwrite(fd.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  return fd;
}

std::string bytes_of(int fd) {
  std::string bytes(1000, '\0');
  bytes.resize(static_cast<std::size_t>(::pread(fd, bytes.data(), bytes.size(), 0)));
  return bytes;
}

// An engine whose slots hold a word each; the word is the state.
class FakeStates final : public SlotStates {
 public:
  std::optional<std::vector<Token>> save(int slot, int fd) override {
    const std::lock_guard lock(mutex_);
    if (failing) return std::nullopt;
    const std::string& word = words[slot];
    EXPECT_EQ(::pwrite(fd, word.data(), word.size(), 0), static_cast<ssize_t>(word.size()));
    return saved;
  }
  bool restore(int slot, int fd) override {
    const std::lock_guard lock(mutex_);
    words[slot] = bytes_of(fd);
    return !failing;
  }
  std::map<int, std::string> words;
  std::vector<Token> saved = run(1, 300);
  bool failing = false;

 private:
  std::mutex mutex_;
};

// The server's end of the channel.
class PromptMemoryTest : public testing::Test {
 protected:
  PromptMemoryTest() {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    server.reset(ends[0]);
    worker.reset(ends[1]);
  }
  ~PromptMemoryTest() override { server.reset(); }

  void order(const std::string& fields, const std::vector<int>& descriptors) {
    std::string text = fields;
    alignas(cmsghdr) char extra[CMSG_SPACE(8 * sizeof(int))];
    iovec bytes{text.data(), text.size()};
    msghdr message{};
    message.msg_iov = &bytes;
    message.msg_iovlen = 1;
    message.msg_control = extra;
    message.msg_controllen = CMSG_SPACE(descriptors.size() * sizeof(int));
    cmsghdr* part = CMSG_FIRSTHDR(&message);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(descriptors.size() * sizeof(int));
    std::memcpy(CMSG_DATA(part), descriptors.data(), descriptors.size() * sizeof(int));
    ASSERT_GT(::sendmsg(server.get(), &message, MSG_NOSIGNAL), 0);
  }
  void remember(std::uint64_t id, const std::vector<Token>& tokens) {
    std::string table(reinterpret_cast<const char*>(&id), sizeof id);
    const auto count = static_cast<std::uint32_t>(tokens.size());
    table.append(reinterpret_cast<const char*>(&count), sizeof count);
    table.append(reinterpret_cast<const char*>(tokens.data()), tokens.size() * sizeof(Token));
    order(R"({"remember":true})", {memory_file(table).get()});
  }
  std::string keep() {
    order(R"({"keep":true})", {memory_file().get()});
    return heard();
  }
  std::string heard() {
    std::string line;
    for (char c = 0; ::recv(server.get(), &c, 1, 0) == 1 && c != '\n';) line += c;
    return line;
  }

  UniqueFd server, worker;
  FakeStates engine;
};

TEST_F(PromptMemoryTest, PromptThatASlotHolds_AsksForNothing) {
  PromptMemory memory(2, PromptMemory::States::MayBeCut);
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
  PromptMemory memory(2, PromptMemory::States::MayBeCut);
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
  PromptMemory memory(4, PromptMemory::States::MayBeCut);
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
  PromptMemory memory(2, PromptMemory::States::MayBeCut);
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
  PromptMemory memory(1, PromptMemory::States::MayBeCut);
  memory.add_prime(run(1, 100), memory_file("prime"));
  memory.serve(worker.get(), engine);
  { EXPECT_EQ(memory.place(run(1, 200), Keep::Yes).slot(), 0); }
  server.reset();
}

TEST_F(PromptMemoryTest, PrimeThatNoSlotHolds_IsRestoredWithoutTheServer) {
  PromptMemory memory(1, PromptMemory::States::MayBeCut);
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
  PromptMemory memory(2, PromptMemory::States::Whole);
  memory.add_prime(run(1, 100), memory_file("prime"));
  memory.serve(worker.get(), engine);
  { memory.place(run(1, 50), Keep::Yes); }
  EXPECT_TRUE(engine.words.empty());
  { memory.place(run(1, 101), Keep::Yes); }
  EXPECT_EQ(engine.words.size(), 1u);
  server.reset();
}

TEST_F(PromptMemoryTest, KeepOrder_CopiesLongPromptsOnce) {
  PromptMemory memory(3, PromptMemory::States::MayBeCut);
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
  order(R"({"keep":true})", {one.get(), two.get(), three.get()});
  EXPECT_EQ(heard(), R"({"state":"kept","count":1})");
  EXPECT_EQ(bytes_of(one.get()), "state");
  order(R"({"keep":true})", {two.get()});
  EXPECT_EQ(heard(), R"({"state":"kept","count":0})");
  server.reset();
}

TEST_F(PromptMemoryTest, KeepOrderBeforeTheSlotIsGivenBack_WaitsForIt) {
  PromptMemory memory(2, PromptMemory::States::MayBeCut);
  memory.serve(worker.get(), engine);
  {
    auto placed = memory.place(run(1, 300), Keep::Yes);
    placed.computed();
    order(R"({"keep":true})", {memory_file().get()});
    for (int waiting = 1; waiting > 0;) {  // until the order is taken
      ASSERT_EQ(::ioctl(worker.get(), FIONREAD, &waiting), 0);
      std::this_thread::yield();
    }
  }
  EXPECT_EQ(heard(), R"({"state":"kept","count":1})");
  server.reset();
}

TEST_F(PromptMemoryTest, SaveFails_NothingIsKept) {
  PromptMemory memory(1, PromptMemory::States::MayBeCut);
  memory.serve(worker.get(), engine);
  memory.place(run(1, 300), Keep::Yes).computed();
  engine.failing = true;
  EXPECT_EQ(keep(), R"({"state":"kept","count":0})");
  EXPECT_EQ(memory.place(run(1, 300), Keep::Yes).slot(), 0);
  server.reset();
}

TEST_F(PromptMemoryTest, NotToBeStoredInSlotsOfTheEnginesChoice_NothingIsKept) {
  PromptMemory memory(1, PromptMemory::States::MayBeCut);
  memory.serve(worker.get(), engine);
  memory.place(run(1, 300), Keep::Yes).computed();
  memory.leave_to_engine(Keep::No);
  EXPECT_EQ(keep(), R"({"state":"kept","count":0})");
  server.reset();
}

// Whatever the slot held before may be what no copy may be made of.
TEST_F(PromptMemoryTest, CallThatWasNotComputed_NothingIsKept) {
  PromptMemory memory(1, PromptMemory::States::MayBeCut);
  memory.serve(worker.get(), engine);
  memory.place(run(2000, 300), Keep::No).computed();
  { const auto refused = memory.place(run(1, 300), Keep::Yes); }
  EXPECT_EQ(keep(), R"({"state":"kept","count":0})");
  server.reset();
}

TEST_F(PromptMemoryTest, GivenBackAfterASecretOfTheEnginesChoice_NothingIsKept) {
  PromptMemory memory(1, PromptMemory::States::MayBeCut);
  memory.serve(worker.get(), engine);
  {
    auto streamed = memory.place(run(1, 300), Keep::Yes);
    streamed.computed();
    memory.leave_to_engine(Keep::No);
  }
  EXPECT_EQ(keep(), R"({"state":"kept","count":0})");
  server.reset();
}

TEST_F(PromptMemoryTest, SlotHoldsAnotherPromptThanTold_NothingIsKept) {
  PromptMemory memory(1, PromptMemory::States::MayBeCut);
  memory.serve(worker.get(), engine);
  memory.place(run(1, 300), Keep::Yes).computed();
  engine.saved = run(2000, 300);
  EXPECT_EQ(keep(), R"({"state":"kept","count":0})");
  server.reset();
}

// A server that answers each such word with an order to keep, until the channel ends.
class Overwriting : public PromptMemoryTest {
 protected:
  void hold(PromptMemory& memory, const std::vector<Token>& tokens) {
    auto placed = memory.place(tokens, Keep::Yes);
    placed.computed();
    engine.words[placed.slot()] = "state";
    engine.saved = tokens;
  }
  // What is heard until a call for this prompt has its slot; it is answered once.
  std::vector<std::string> said_for(PromptMemory& memory, std::vector<Token> prompt) {
    std::vector<std::string> said;
    std::thread answer([this, &said] {
      while (said.empty() || said.back().find("kept") == std::string::npos) {
        said.push_back(heard());
        if (said.back().empty()) return;
        if (said.back() == R"({"state":"overwriting"})") order(R"({"keep":true})", {file.get()});
      }
    });
    { const auto placed = memory.place(std::move(prompt), Keep::Yes); }
    ::shutdown(worker.get(), SHUT_WR);  // nothing said is an empty line
    answer.join();
    return said;
  }
  UniqueFd file = memory_file();
};

TEST_F(Overwriting, LongPromptWithoutACopy_IsCopiedFirst) {
  PromptMemory memory(1, PromptMemory::States::MayBeCut);
  memory.serve(worker.get(), engine);
  hold(memory, run(1, 300));
  const auto said = said_for(memory, run(5000, 300));
  ASSERT_EQ(said.size(), 2u);
  EXPECT_EQ(said.back(), R"({"state":"kept","count":1})");
  EXPECT_EQ(bytes_of(file.get()), "state");
  server.reset();
}

TEST_F(Overwriting, CopyExists_NothingIsAsked) {
  PromptMemory memory(1, PromptMemory::States::MayBeCut);
  memory.serve(worker.get(), engine);
  hold(memory, run(1, 300));
  EXPECT_EQ(keep(), R"({"state":"kept","count":1})");
  EXPECT_EQ(said_for(memory, run(5000, 300)), std::vector<std::string>{""});
  server.reset();
}

TEST_F(Overwriting, LittleIsLost_NothingIsAsked) {
  PromptMemory memory(1, PromptMemory::States::MayBeCut);
  memory.serve(worker.get(), engine);
  hold(memory, run(1, 500));
  EXPECT_EQ(said_for(memory, run(1, 400)), std::vector<std::string>{""});  // 100 tokens
  server.reset();
}

TEST_F(Overwriting, MostOfItIsRemembered_NothingIsAsked) {
  PromptMemory memory(1, PromptMemory::States::MayBeCut);
  memory.add_prime(run(1, 400), memory_file("prime"));
  memory.serve(worker.get(), engine);
  hold(memory, run(1, 500));
  EXPECT_EQ(said_for(memory, run(5000, 300)), std::vector<std::string>{""});
  server.reset();
}

TEST_F(Overwriting, NotToBeStored_NothingIsAsked) {
  PromptMemory memory(1, PromptMemory::States::MayBeCut);
  memory.serve(worker.get(), engine);
  memory.place(run(1, 300), Keep::No).computed();
  EXPECT_EQ(said_for(memory, run(5000, 300)), std::vector<std::string>{""});
  server.reset();
}

TEST_F(Overwriting, ServerThatIsGone_CallDoesNotWait) {
  PromptMemory memory(1, PromptMemory::States::MayBeCut);
  memory.serve(worker.get(), engine);
  hold(memory, run(1, 300));
  std::thread gone([this] {
    EXPECT_EQ(heard(), R"({"state":"overwriting"})");
    server.reset();
  });
  EXPECT_EQ(memory.place(run(5000, 300), Keep::Yes).slot(), 0);
  gone.join();
}

// The answer comes when the call has gone on: the slot may hold what no copy may be made of.
TEST_F(Overwriting, OrderAfterTheCallHasGoneOn_CopiesNothingOfIt) {
  PromptMemory memory(1, PromptMemory::States::MayBeCut);
  memory.serve(worker.get(), engine);
  hold(memory, run(1, 300));
  { memory.place(run(5000, 300), Keep::No).computed(); }
  EXPECT_EQ(heard(), R"({"state":"overwriting"})");
  engine.saved = run(5000, 300);
  EXPECT_EQ(keep(), R"({"state":"kept","count":0})");
  server.reset();
}

TEST_F(PromptMemoryTest, TableCutShort_WholeEntriesCount) {
  PromptMemory memory(1, PromptMemory::States::MayBeCut);
  memory.serve(worker.get(), engine);
  order(R"({"remember":true})", {memory_file(std::string(13, '\x7f')).get()});
  EXPECT_EQ(memory.place(run(1, 300), Keep::Yes).slot(), 0);
  EXPECT_TRUE(engine.words.empty());
  server.reset();
}

TEST_F(PromptMemoryTest, AllSlotsTaken_EngineChooses) {
  PromptMemory memory(1, PromptMemory::States::MayBeCut);
  const auto first = memory.place(run(1, 3), Keep::Yes);
  EXPECT_EQ(memory.place(run(1, 3), Keep::Yes).slot(), -1);
}

}  // namespace
}  // namespace glowplug::worker
