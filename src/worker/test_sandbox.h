// Processes that a test may lock up, what they say, and a fixture with a model and two folders.
//
// A sandbox cannot be undone, so whatever enters one is a child of the test and reports through a
// pipe; the test compares the whole of what it said, its death included. Nothing waits for a time.
//
// Thread: the test's only one, because a fork copies no other.
#pragma once

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <functional>
#include <stdexcept>
#include <string>
#include <unistd.h>
#include <utility>

#include <gtest/gtest.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/unique_fd.h"
#include "worker/sandbox.h"

namespace glowplug::worker {

namespace fs = std::filesystem;

// What a child says to the test: lines "what: ok" or "what: EPERM".
class Speaker final {
 public:
  explicit Speaker(UniqueFd fd) : fd_(std::move(fd)) {}
  void line(const std::string& text) {
    const std::string whole = text + "\n";
    if (::write(fd_.get(), whole.data(), whole.size()) < 0) ::_exit(1);
  }
  void result(const std::string& what, long value) {
    line(what + ": " + (value >= 0 ? "ok" : ::strerrorname_np(errno)));
  }

 private:
  UniqueFd fd_;
};

// A process of the test's own; what it does cannot bind the test.
class Child final {
 public:
  explicit Child(const std::function<void(Speaker&)>& body) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
    heard_ = UniqueFd(ends[0]);
    UniqueFd said(ends[1]);
    pid_ = ::fork();
    if (pid_ != 0) return;
    heard_.reset();
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    Speaker speaker(std::move(said));
    // A throw must not reach the test program, of which this is a copy.
    [&]() noexcept { body(speaker); }();
    ::_exit(0);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    end();
  }

  pid_t pid() const { return pid_; }

  std::string next_line() {
    std::string text;
    for (char byte = 0; ::read(heard_.get(), &byte, 1) == 1;) {
      if (byte == '\n') return text;
      text += byte;
    }
    return text;
  }

  // Everything it still says, and how it ends when that is not well.
  std::string rest() {
    std::string text;
    std::array<char, 4096> buffer;
    for (ssize_t got; (got = ::read(heard_.get(), buffer.data(), buffer.size())) > 0;)
      text.append(buffer.data(), static_cast<std::size_t>(got));
    const int status = end();
    if (WIFSIGNALED(status)) text += std::string("ended by SIG") + ::sigabbrev_np(WTERMSIG(status));
    if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
      text += "exited " + std::to_string(WEXITSTATUS(status));
    return text;
  }

 private:
  int end() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return status;
  }

  UniqueFd heard_;
  pid_t pid_ = -1;
};

inline std::string said_by(const std::function<void(Speaker&)>& body) { return Child(body).rest(); }

inline sockaddr_un unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

inline UniqueFd listen_on(const std::string& path) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_un address = unix_address(path);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(fd.get(), 8) != 0)
    fd.reset();
  return fd;
}

// A TCP socket of the test on 127.0.0.1, and how to call it.
class TcpListener final {
 public:
  TcpListener() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    socklen_t size = sizeof address_;
    address_.sin_family = AF_INET;
    address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::bind(fd_.get(), reinterpret_cast<sockaddr*>(&address_), size) != 0 ||
        ::listen(fd_.get(), 8) != 0 ||
        ::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address_), &size) != 0)
      throw std::runtime_error("no listener");
  }
  int call(int socket) const {
    return ::connect(socket, reinterpret_cast<const sockaddr*>(&address_), sizeof address_);
  }
  int call() const {
    const UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    return socket.valid() ? call(socket.get()) : -1;
  }

 private:
  UniqueFd fd_;
  sockaddr_in address_{};
};

inline long open_and_close(const std::string& path, int flags) {
  return UniqueFd(::open(path.c_str(), flags | O_CLOEXEC, 0600)).get();
}

// Not through std::ifstream: an open that fails keeps its reason in errno.
inline std::string content(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 64> buffer;
  const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
  return got < 0 ? "nothing" : std::string(buffer.data(), static_cast<std::size_t>(got));
}

using Capabilities = std::array<__user_cap_data_struct, 2>;

inline Capabilities capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  Capabilities sets{};
  ::syscall(SYS_capget, &header, sets.data());
  return sets;
}

inline bool holds_any(const Capabilities& sets) {
  return sets[0].permitted || sets[1].permitted || sets[0].effective || sets[1].effective ||
         sets[0].inheritable || sets[1].inheritable;
}

// A model file, the replica's own folder and one that is none of its business.
class Sandbox : public ::testing::Test {
 protected:
  Sandbox() {
    ::chmod(base_.c_str(), 0755);
    fs::create_directory(own_);
    fs::create_directory(other_);
    std::ofstream(model_) << "weights";
    std::ofstream(other_ + "/file") << "secret";
  }
  ~Sandbox() override { fs::remove_all(base_); }

  void SetUp() override {
#ifdef __SANITIZE_THREAD__
    GTEST_SKIP() << "the thread sanitizer has a thread of its own in every process";
#endif
  }

  static std::string make_base() {
    std::string name = fs::temp_directory_path() / "sandbox-XXXXXX";
    return ::mkdtemp(name.data());
  }

  // What the machine gives to a replica, with its reasons; the tests of a layer need its word.
  static const std::string& machine() {
    static const std::string said = said_by([](Speaker& say) {
      const SandboxReport all = lock_down(confine_files({}, enter_namespaces()));
      say.line(all.words());
      for (const std::string& sentence : all.refused) say.line(sentence);
    });
    return said;
  }
  static std::string machine_words() { return machine().substr(0, machine().find('\n')); }
  static bool has(const std::string& layer) {
    return machine_words().find(layer) != std::string::npos;
  }
  static int landlock_abi() {
    const auto at = machine_words().find("landlock");
    return at == std::string::npos ? 0
                                   : std::atoi(machine().c_str() + at + std::strlen("landlock"));
  }

  FileAccess files() const { return {.readable_files = {model_}, .own_folder = own_}; }

  const std::string base_ = make_base();
  const std::string own_ = base_ + "/own", other_ = base_ + "/other", model_ = base_ + "/model";
  const std::string socket_ = own_ + "/r.sock";
};

}  // namespace glowplug::worker
