// An engine whose slots' states are words, and the server's end of a prompt memory's channel.
//
// Thread: one test; the engine's, as the prompt memory uses it.
#pragma once

#include <chrono>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <numeric>
#include <optional>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "worker/prompt_memory.h"

namespace glowplug::worker {

using namespace std::chrono_literals;
using Keep = SlotBook::Keep;

inline std::vector<Token> run(Token from, int count) {
  std::vector<Token> tokens(static_cast<std::size_t>(count));
  std::iota(tokens.begin(), tokens.end(), from);
  return tokens;
}

inline UniqueFd memory_file(const std::string& bytes = "") {
  UniqueFd fd(::memfd_create("test", MFD_CLOEXEC));
  EXPECT_EQ(::pwrite(fd.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  return fd;
}

inline std::string bytes_of(int fd) {
  std::string bytes(1000, '\0');
  bytes.resize(static_cast<std::size_t>(::pread(fd, bytes.data(), bytes.size(), 0)));
  return bytes;
}

// An engine whose slots hold a word each; the word is the state.
class FakeStates final : public SlotStates {
 public:
  std::optional<std::vector<Token>> save(int slot, int fd, std::chrono::milliseconds) override {
    if (meanwhile) std::exchange(meanwhile, nullptr)();
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
  std::function<void()> meanwhile;  // once, before the next save

 private:
  std::mutex mutex_;
};

constexpr std::chrono::hours kNever{1};

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
    order(R"({"keep":"idle"})", {memory_file().get()});
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

}  // namespace glowplug::worker
