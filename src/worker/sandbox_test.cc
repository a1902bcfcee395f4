#include "worker/sandbox.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <fstream>
#include <string>
#include <thread>
#include <unistd.h>
#include <utility>

#include <gtest/gtest.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "worker/test_sandbox.h"

namespace glowplug::worker {
namespace {

constexpr unsigned kNobody = 65534;

// One answer on a listening socket.
void serve_one(const UniqueFd& listener) {
  const UniqueFd connection(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  std::array<char, 4> asked;
  if (::recv(connection.get(), asked.data(), asked.size(), MSG_WAITALL) == 4)
    ::send(connection.get(), "pong", 4, MSG_NOSIGNAL);
}

int connect_to(const UniqueFd& socket, const std::string& path) {
  const sockaddr_un address = unix_address(path);
  return ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

std::string ask(const std::string& path) {
  const UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (connect_to(socket, path) != 0) return ::strerrorname_np(errno);
  ::send(socket.get(), "ping", 4, MSG_NOSIGNAL);
  std::array<char, 4> answer;
  const ssize_t got = ::recv(socket.get(), answer.data(), answer.size(), MSG_WAITALL);
  return got == 4 ? std::string(answer.data(), 4) : "no answer";
}

void become_nobody() {
  if (::geteuid() != 0) return;
  if (::setresgid(kNobody, kNobody, kNobody) != 0 || ::setresuid(kNobody, kNobody, kNobody) != 0)
    ::_exit(1);
}

void give_back_capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  const Capabilities none{};
  ::syscall(SYS_capset, &header, none.data());
}

TEST(SandboxReport, Words_NameWhatIsInForce) {
  EXPECT_EQ(SandboxReport{}.words(), "none");
  SandboxReport report;
  report.network_namespace = report.seccomp = true;
  EXPECT_EQ(report.words(), "netns,seccomp");
  report.landlock_abi = 7;
  report.capabilities_dropped = true;
  EXPECT_EQ(report.words(), "netns,landlock7,seccomp,nocaps");
}

TEST_F(Sandbox, WhatTheKernelHas_IsUsed) {
  constexpr unsigned kActionAvailable = 2, kVersion = 1;
  const std::uint32_t errno_action = SECCOMP_RET_ERRNO;
  EXPECT_EQ(has("seccomp"), ::syscall(SYS_seccomp, kActionAvailable, 0, &errno_action) == 0);
  const long abi = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, kVersion);
  EXPECT_EQ(landlock_abi(), std::max(abi, 0l));
  EXPECT_TRUE(has("nocaps"));
}

// ---- namespaces

TEST_F(Sandbox, OwnNetwork_ListenerOfTheMachineIsNotReached) {
  if (!has("netns")) GTEST_SKIP() << machine();
  const TcpListener listener;
  const auto body = [&](Speaker& say) {
    say.result("before", listener.call());
    say.line(enter_namespaces().words());
    say.result("after", listener.call());
  };
  EXPECT_EQ(said_by(body), "before: ok\nnetns\nafter: ENETUNREACH\n");
}

TEST_F(Sandbox, OwnNetwork_OfAnUndumpableProcessWithoutPrivileges_KeepsWhoItIs) {
  if (!has("netns")) GTEST_SKIP() << machine();
  if (::geteuid() == 0 && !holds_any(capabilities()))
    GTEST_SKIP() << "root without capabilities cannot become another user, nor be mapped";
  const TcpListener listener;
  const auto body = [&](Speaker& say) {
    become_nobody();
    const uid_t user = ::getuid();
    const gid_t group = ::getgid();
    ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    const SandboxReport report = enter_namespaces();
    say.line(report.refused.empty() ? "mapped" : report.refused.front());
    say.line(::getuid() == user && ::getgid() == group ? "itself" : "somebody else");
    say.line("dumpable " + std::to_string(::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0)));
    say.result("call", listener.call());
  };
  EXPECT_EQ(said_by(body), "mapped\nitself\ndumpable 0\ncall: ENETUNREACH\n");
}

TEST_F(Sandbox, NoNamespaceToBeHad_IsReportedAndTheRestApplies) {
  if (!has("netns") || !has("seccomp")) GTEST_SKIP() << machine();
  const auto body = [](Speaker& say) {
    if (::unshare(CLONE_NEWUSER) != 0) ::_exit(1);
    std::ofstream("/proc/sys/user/max_user_namespaces") << "0";  // of this one alone
    give_back_capabilities();
    SandboxReport report = enter_namespaces();
    say.line(report.refused.at(0));
    report = lock_down(std::move(report));
    say.line(report.words());
  };
  EXPECT_EQ(said_by(body),
            "the machine gives no network namespace without privileges: No space left on "
            "device\nseccomp\n");
}

// ---- files

TEST_F(Sandbox, ConfinedFiles_ModelIsReadAndNothingElse) {
  if (!has("landlock")) GTEST_SKIP() << machine();
  const auto body = [&](Speaker& say) {
    say.result("passwd before", open_and_close("/etc/passwd", O_RDONLY));
    if (!confine_files(files(), {}).refused.empty()) say.line("refused");
    say.line("model: " + content(model_));
    say.result("model for writing", open_and_close(model_, O_WRONLY));
    say.result("passwd", open_and_close("/etc/passwd", O_RDONLY));
    say.result("neighbour", open_and_close(other_ + "/file", O_RDONLY));
    say.result("folder", open_and_close(base_, O_RDONLY | O_DIRECTORY));
  };
  EXPECT_EQ(said_by(body),
            "passwd before: ok\nmodel: weights\nmodel for writing: EACCES\npasswd: EACCES\n"
            "neighbour: EACCES\nfolder: EACCES\n");
}

TEST_F(Sandbox, ConfinedFiles_OwnFolderTakesASocketAndNothingElse) {
  if (!has("landlock")) GTEST_SKIP() << machine();
  constexpr int kNew = O_WRONLY | O_CREAT | O_EXCL;
  const auto body = [&](Speaker& say) {
    if (!confine_files(files(), {}).refused.empty()) say.line("refused");
    say.result("new", open_and_close(own_ + "/new", kNew));
    say.result("folder", ::mkdir((own_ + "/folder").c_str(), 0700));
    say.result("socket", listen_on(socket_).get());
    say.result("remove", ::unlink(socket_.c_str()));
    say.result("link", ::symlink("/etc", (own_ + "/link").c_str()));
    say.result("pipe", ::mkfifo((own_ + "/pipe").c_str(), 0600));
    say.result("new elsewhere", open_and_close(other_ + "/new", kNew));
    say.result("remove elsewhere", ::unlink((other_ + "/file").c_str()));
  };
  EXPECT_EQ(said_by(body),
            "new: EACCES\nfolder: EACCES\nsocket: ok\nremove: ok\nlink: EACCES\n"
            "pipe: EACCES\nnew elsewhere: EACCES\nremove elsewhere: EACCES\n");
}

TEST_F(Sandbox, ConfinedFiles_ThreadStartedLater_IsConfinedToo) {
  if (!has("landlock")) GTEST_SKIP() << machine();
  const auto body = [&](Speaker& say) {
    if (!confine_files(files(), {}).refused.empty()) say.line("refused");
    std::thread([&] {
      say.line("model: " + content(model_));
      say.result("passwd", open_and_close("/etc/passwd", O_RDONLY));
      say.line(holds_any(capabilities()) ? "capable" : "not capable");
    }).join();
  };
  EXPECT_EQ(said_by(body), "model: weights\npasswd: EACCES\nnot capable\n");
}

TEST_F(Sandbox, ConfiningWhileOtherThreadsRun_IsRefused) {
  const auto body = [&](Speaker& say) {
    int gate[2];
    if (::pipe2(gate, O_CLOEXEC) != 0) ::_exit(1);
    std::thread other([&] {
      char byte;
      say.line(::read(gate[0], &byte, 1) == 1 ? "ran" : "did not run");
    });
    const SandboxReport report = confine_files(files(), {});
    say.line(report.words() + " " + std::to_string(report.refused.size()));
    if (::write(gate[1], "x", 1) == 1) other.join();
    say.line(confine_files(files(), {}).words());
  };
  EXPECT_EQ(said_by(body), "none 1\nran\n" +
                               (has("landlock") ? "landlock" + std::to_string(landlock_abi()) + ","
                                                : std::string()) +
                               "nocaps\n");
}

TEST_F(Sandbox, ConfinedTwice_BothHold) {
  if (!has("landlock")) GTEST_SKIP() << machine();
  const auto body = [&](Speaker& say) {
    SandboxReport report = confine_files(files(), {});
    report =
        confine_files({.readable_files = {model_, other_ + "/file"}, .own_folder = {}}, report);
    if (!report.refused.empty()) say.line(report.refused.front());
    say.line("model: " + content(model_));
    say.result("own", open_and_close(own_ + "/new", O_WRONLY | O_CREAT));
    say.result("neighbour", open_and_close(other_ + "/file", O_RDONLY));
  };
  EXPECT_EQ(said_by(body), "model: weights\nown: EACCES\nneighbour: EACCES\n");
}

TEST_F(Sandbox, ConfinedFiles_DeathSignalAndDumpabilityStay) {
  const auto body = [&](Speaker& say) {
    SandboxReport report = confine_files(files(), enter_namespaces());
    int signal = 0;
    ::prctl(PR_GET_PDEATHSIG, &signal, 0, 0, 0);
    say.line(std::to_string(signal) + " " + std::to_string(::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0)));
  };
  EXPECT_EQ(said_by(body), std::to_string(SIGKILL) + " 1\n");
}

TEST_F(Sandbox, ConfinedProcess_ReachesNoOther) {
  if (landlock_abi() < 6) GTEST_SKIP() << "Landlock 6 is needed; " << machine();
  const TcpListener listener;
  const std::string name = std::string(1, '\0') + base_;
  const UniqueFd abstract = listen_on(name);
  ASSERT_TRUE(abstract.valid());
  int gate[2];
  ASSERT_EQ(::pipe2(gate, O_CLOEXEC), 0);
  const UniqueFd waits(gate[0]), opens(gate[1]);
  const Child sibling([&](Speaker&) {
    char byte;
    [[maybe_unused]] const ssize_t got = ::read(waits.get(), &byte, 1);
  });
  const auto body = [&](Speaker& say) {
    say.result("signal before", ::kill(sibling.pid(), 0));
    say.result("TCP before", listener.call());
    if (!confine_files(files(), {}).refused.empty()) say.line("refused");
    say.result("signal", ::kill(sibling.pid(), 0));
    say.result("signal to itself", ::kill(::getpid(), 0));
    say.result("ptrace", ::ptrace(PTRACE_SEIZE, sibling.pid(), nullptr, nullptr));
    say.result("TCP", listener.call());
    say.result("abstract", connect_to(UniqueFd(::socket(AF_UNIX, SOCK_STREAM, 0)), name));
  };
  EXPECT_EQ(said_by(body),
            "signal before: ok\nTCP before: ok\nsignal: EPERM\nsignal to itself: ok\n"
            "ptrace: EPERM\nTCP: EACCES\nabstract: EPERM\n");
}

TEST_F(Sandbox, Root_HoldsNoCapabilityAndCanGainNone) {
  if (!holds_any(capabilities())) GTEST_SKIP() << "this process has no capability to lose";
  const auto body = [&](Speaker& say) {
    const SandboxReport report = confine_files(files(), {});
    say.line(report.capabilities_dropped ? "dropped" : "not dropped");
    say.line(holds_any(capabilities()) ? "capable" : "not capable");
    long bounding = 0;
    for (int number = 0; ::prctl(PR_CAPBSET_READ, number, 0, 0, 0) >= 0; ++number)
      bounding += ::prctl(PR_CAPBSET_READ, number, 0, 0, 0);
    say.line("bounding " + std::to_string(bounding));
    say.result("chown", ::chown(model_.c_str(), kNobody, kNobody));
  };
  EXPECT_EQ(said_by(body), "dropped\nnot capable\nbounding 0\nchown: EPERM\n");
}

TEST_F(Sandbox, LockedDown_WritesAMemoryFileThatItWasGiven) {
  if (!has("seccomp") || !has("landlock")) GTEST_SKIP() << machine();
  const UniqueFd given(::memfd_create("given", MFD_CLOEXEC));
  ASSERT_EQ(::pwrite(given.get(), "old", 3, 0), 3);
  const auto body = [&](Speaker& say) {
    const SandboxReport report = lock_down(confine_files(files(), {}));
    if (!report.refused.empty()) say.line(report.refused.front());
    const std::string path = "/proc/self/fd/" + std::to_string(given.get());
    const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600));
    say.result("open", file.get());
    say.result("write", static_cast<long>(::write(file.get(), "state", 5)));
    say.line(content(path));
  };
  EXPECT_EQ(said_by(body), "open: ok\nwrite: ok\nstate\n");
}

TEST_F(Sandbox, LockedDown_OpensNothingElseForWriting) {
  if (!has("seccomp") || !has("landlock")) GTEST_SKIP() << machine();
  const auto body = [&](Speaker& say) {
    const UniqueFd listener = listen_on(socket_);
    const SandboxReport report = lock_down(confine_files(files(), {}));
    if (!report.refused.empty()) say.line(report.refused.front());
    say.line("model: " + content(model_));
    say.result("passwd", open_and_close("/etc/passwd", O_RDONLY));
    say.result("new", open_and_close(own_ + "/new", O_WRONLY | O_CREAT));
    say.result("model for writing", open_and_close(model_, O_WRONLY));
    say.result("append", open_and_close(own_ + "/new", O_WRONLY | O_APPEND));
    say.result("unnamed", open_and_close(own_, O_WRONLY | O_TMPFILE));
    say.result("path", open_and_close("/etc/passwd", O_PATH));
    say.result("openat2", ::syscall(SYS_openat2, AT_FDCWD, "/", nullptr, 0));
    say.result("remove socket", ::unlink(socket_.c_str()));
    say.result("remove elsewhere", ::unlink((other_ + "/file").c_str()));
  };
  EXPECT_EQ(
      said_by(body),
      "model: weights\npasswd: EACCES\nnew: EACCES\nmodel for writing: EACCES\nappend: EPERM\n"
      "unnamed: EPERM\npath: EPERM\nopenat2: ENOSYS\nremove socket: ok\nremove elsewhere: "
      "EACCES\n");
}

TEST_F(Sandbox, LockedDownReplica_AnswersOnItsSocket) {
  for (const bool fresh_network : {false, true}) {
    Child replica([&](Speaker& say) {
      SandboxReport report = fresh_network ? enter_namespaces() : SandboxReport{};
      report = confine_files(files(), std::move(report));
      const UniqueFd listener = listen_on(socket_);
      std::thread serving([&] { serve_one(listener); });
      report = lock_down(std::move(report));
      say.line(report.words());
      serving.join();
      std::thread([&] { serve_one(listener); }).join();
      say.result("remove", ::unlink(socket_.c_str()));
    });
    std::string expected = machine_words();
    if (!fresh_network && expected.starts_with("netns,")) expected.erase(0, std::strlen("netns,"));
    EXPECT_EQ(replica.next_line(), expected);
    EXPECT_EQ(ask(socket_), "pong");
    EXPECT_EQ(ask(socket_), "pong");
    EXPECT_EQ(replica.rest(), has("landlock") ? "remove: ok\n" : "remove: EPERM\n");
    fs::remove(socket_);
  }
}

TEST_F(Sandbox, LockedDown_LocalTimeKeepsItsZone) {
  if (!has("landlock")) GTEST_SKIP() << machine();
  // Version 1 of a time zone file: no transitions, one type of 5 hours east, its name.
  std::string zone("TZif");
  zone.resize(44, '\0');
  zone[39] = 1;
  zone[43] = 4;
  zone += std::string("\0\0\x46\x50\0\0", 6) + std::string("EST\0", 4);
  std::ofstream(base_ + "/zone") << zone;
  const auto body = [&](Speaker& say) {
    ::setenv("TZ", (":" + base_ + "/zone").c_str(), 1);
    const SandboxReport report = lock_down(confine_files(files(), {}));
    say.result("zone", open_and_close(base_ + "/zone", O_RDONLY));
    const std::time_t epoch = 0;
    say.line("hour " + std::to_string(std::localtime(&epoch)->tm_hour));
  };
  EXPECT_EQ(said_by(body), "zone: EACCES\nhour 5\n");
}

TEST_F(Sandbox, NothingIsTaken_EachRefusalHasItsSentence) {
  if (!has("seccomp")) GTEST_SKIP() << machine();
  const auto body = [&](Speaker& say) {
    if (!lock_down({}).seccomp) say.line("refused");
    // A kernel without Landlock answers as this filter does.
    const SandboxReport report = lock_down(confine_files(files(), {}));
    say.line(report.words());
    for (const std::string& sentence : report.refused) say.line(sentence);
  };
  EXPECT_EQ(said_by(body),
            "none\n"
            "the kernel does not promise to grant no new privileges: Operation not permitted\n"
            "the kernel has no Landlock or has it switched off: Function not implemented\n"
            "the kernel does not take the capabilities back: Operation not permitted\n"
            "the kernel does not promise to grant no new privileges: Operation not permitted\n"
            "the kernel takes no filter of system calls: Operation not permitted\n");
}

}  // namespace
}  // namespace glowplug::worker
