#include "worker/syscall_filter.h"

#include <array>
#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <mutex>
#include <poll.h>
#include <stdexcept>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>

#include "worker/test_sandbox.h"

namespace glowplug::worker {
namespace {

// Without confine_files() where files do not matter, so that nothing else refuses a call.
class SyscallFilter : public Sandbox {
  void SetUp() override {}  // a filter binds every thread there is
};

TEST_F(SyscallFilter, LockedDown_NoNewSocketOrConnection) {
  if (!has("seccomp")) GTEST_SKIP() << machine();
  const TcpListener listener;
  const auto body = [&](Speaker& say) {
    const UniqueFd earlier(::socket(AF_INET, SOCK_STREAM, 0));
    if (!lock_down({}).seccomp) say.line("refused");
    say.result("TCP", ::socket(AF_INET, SOCK_STREAM, 0));
    say.result("Unix", ::socket(AF_UNIX, SOCK_STREAM, 0));
    say.result("pair", ::socketpair(AF_UNIX, SOCK_STREAM, 0, std::array<int, 2>{}.data()));
    say.result("connect", listener.call(earlier.get()));
    say.result("bind", ::bind(earlier.get(), nullptr, 0));
    say.result("listen", ::listen(earlier.get(), 1));
  };
  EXPECT_EQ(said_by(body),
            "TCP: EPERM\nUnix: EPERM\npair: EPERM\nconnect: EPERM\nbind: EPERM\nlisten: EPERM\n");
}

TEST_F(SyscallFilter, LockedDown_HostileCall_EndsTheProcess) {
  if (!has("seccomp")) GTEST_SKIP() << machine();
  for (const long call :
       {SYS_execve, SYS_execveat, SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev,
        SYS_init_module, SYS_finit_module, SYS_kexec_load, SYS_bpf, SYS_userfaultfd, SYS_mount,
        SYS_umount2, SYS_pivot_root, SYS_setns}) {
    const auto body = [call](Speaker& say) {
      if (!lock_down({}).seccomp) say.line("refused");
      say.result("call", ::syscall(call, -1, 0, 0, 0, 0, 0));
    };
    EXPECT_EQ(said_by(body), "ended by SIGSYS") << call;
  }
}

TEST_F(SyscallFilter, LockedDown_ExecOfARealProgram_EndsTheProcess) {
  if (!has("seccomp")) GTEST_SKIP() << machine();
  const auto body = [](Speaker& say) {
    if (!lock_down({}).seccomp) say.line("refused");
    ::execl("/bin/true", "true", nullptr);
    say.line("still here");
  };
  EXPECT_EQ(said_by(body), "ended by SIGSYS");
}

#ifdef __x86_64__
TEST_F(SyscallFilter, LockedDown_NumbersOfAnotherArchitecture_EndTheProcess) {
  if (!has("seccomp")) GTEST_SKIP() << machine();
  const auto body = [](Speaker& say) {
    if (!lock_down({}).seccomp) say.line("refused");
    say.result("x32", ::syscall(0x40000000 | SYS_getpid));
  };
  EXPECT_EQ(said_by(body), "ended by SIGSYS");
  const std::string said = said_by([](Speaker& say) {
    if (!lock_down({}).seccomp) say.line("refused");
    constexpr long kGetPid = 20;  // i386
    long result = kGetPid;
    asm volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
    say.result("i386", result);
  });
  // A kernel without 32-bit programs has its own answer.
  EXPECT_TRUE(said == "ended by SIGSYS" || said == "ended by SIGSEGV") << said;
}
#endif

TEST_F(SyscallFilter, LockedDown_SignalsReachItselfOnly) {
  if (!has("seccomp")) GTEST_SKIP() << machine();
  int gate[2];
  ASSERT_EQ(::pipe2(gate, O_CLOEXEC), 0);
  const UniqueFd waits(gate[0]), opens(gate[1]);
  const Child sibling([&](Speaker&) {
    char byte;
    [[maybe_unused]] const ssize_t got = ::read(waits.get(), &byte, 1);
  });
  const int other = sibling.pid();
  const auto body = [&](Speaker& say) {
    std::signal(SIGUSR1, [](int) {});
    if (!lock_down({}).seccomp) say.line("refused");
    say.result("raise", -::raise(SIGUSR1));
    say.result("kill", ::kill(other, 0));
    say.result("tkill", ::syscall(SYS_tkill, other, SIGUSR1));
    say.result("tgkill", ::syscall(SYS_tgkill, other, other, SIGUSR1));
    say.result("queue", ::syscall(SYS_rt_sigqueueinfo, other, SIGUSR1, nullptr));
    say.result("pidfd", ::syscall(SYS_pidfd_send_signal, 0, SIGUSR1, nullptr, 0));
    say.result("owner", ::fcntl(STDIN_FILENO, F_SETOWN, other));
    ::abort();
  };
  EXPECT_EQ(said_by(body),
            "raise: ok\nkill: EPERM\ntkill: EPERM\ntgkill: EPERM\nqueue: EPERM\npidfd: EPERM\n"
            "owner: EPERM\nended by SIGABRT");
}

TEST_F(SyscallFilter, LockedDown_ThreadsStartAndProcessesDoNot) {
  if (!has("seccomp")) GTEST_SKIP() << machine();
  const auto body = [](Speaker& say) {
    if (!lock_down({}).seccomp) say.line("refused");
    std::thread([&say] { say.line("a thread"); }).join();
    const pid_t child = ::fork();
    if (child == 0) ::_exit(0);
    say.result("fork", child);
    const long bare = ::syscall(SYS_clone, 0, 0, 0, 0, 0);
    if (bare == 0) ::_exit(0);
    say.result("bare clone", bare);
    say.result("clone3", ::syscall(SYS_clone3, nullptr, 0));
    say.result(
        "namespace",
        ::syscall(SYS_clone, CLONE_VM | CLONE_SIGHAND | CLONE_THREAD | CLONE_NEWNET, 0, 0, 0, 0));
    say.result("unshare", ::unshare(CLONE_NEWUSER));
  };
  EXPECT_EQ(said_by(body),
            "a thread\nfork: EPERM\nbare clone: EPERM\nclone3: ENOSYS\nnamespace: EPERM\nunshare: "
            "EPERM\n");
}

TEST_F(SyscallFilter, LockedDown_NoMemoryBecomesExecutable) {
  if (!has("seccomp")) GTEST_SKIP() << machine();
  const auto body = [](Speaker& say) {
    if (!lock_down({}).seccomp) say.line("refused");
    constexpr std::size_t kBytes = 1 << 20;
    constexpr int kRead = PROT_READ, kWrite = PROT_READ | PROT_WRITE;
    const auto map = [](int protection) {
      return ::mmap(nullptr, kBytes, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    };
    void* memory = map(kRead);
    say.result("map", memory == MAP_FAILED ? -1 : 0);
    say.result("write", ::mprotect(memory, kBytes, kWrite));
    say.result("execute", ::mprotect(memory, kBytes, kRead | PROT_EXEC));
    say.result("key", ::syscall(SYS_pkey_mprotect, memory, kBytes, PROT_EXEC, -1));
    say.result("map executable", map(kRead | PROT_EXEC) == MAP_FAILED ? -1 : 0);
  };
  EXPECT_EQ(said_by(body),
            "map: ok\nwrite: ok\nexecute: EPERM\nkey: EPERM\nmap executable: EPERM\n");
}

TEST_F(SyscallFilter, LockedDown_ThreadStartedBefore_IsLockedDownToo) {
  if (!has("seccomp")) GTEST_SKIP() << machine();
  const auto body = [](Speaker& say) {
    int gate[2];
    if (::pipe2(gate, O_CLOEXEC) != 0) ::_exit(1);
    std::thread earlier([&] {
      char byte;
      if (::read(gate[0], &byte, 1) != 1) return;
      say.result("socket", ::socket(AF_INET, SOCK_STREAM, 0));
    });
    if (!lock_down({}).seccomp) say.line("refused");
    if (::write(gate[1], "x", 1) == 1) earlier.join();
  };
  EXPECT_EQ(said_by(body), "socket: EPERM\n");
}

TEST_F(SyscallFilter, LockedDownWithoutLandlock_OpensAndRemovesNothing) {
  if (!has("seccomp")) GTEST_SKIP() << machine();
  const auto body = [&](Speaker& say) {
    if (!lock_down({}).seccomp) say.line("refused");
    say.result("model", open_and_close(model_, O_RDONLY));
    say.result("remove", ::unlink((other_ + "/file").c_str()));
  };
  EXPECT_EQ(said_by(body), "model: EPERM\nremove: EPERM\n");
}

TEST_F(SyscallFilter, LockedDown_ArgumentsThatWidenACall_AreRefused) {
  if (!has("seccomp")) GTEST_SKIP() << machine();
  const auto body = [](Speaker& say) {
    int pair[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) ::_exit(1);
    if (!lock_down({}).seccomp) say.line("refused");
    sock_filter pass{BPF_RET | BPF_K, 0, 0, 0xffff};
    const sock_fprog program{1, &pass};
    rlimit limit{};
    say.result("filter",
               ::setsockopt(pair[0], SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));
    say.result("ioctl", ::ioctl(pair[0], FIOSETOWN, &pair));
    say.result("dumpable", ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
    say.result("read limit", ::prlimit(0, RLIMIT_NOFILE, nullptr, &limit));
    say.result("set limit", ::prlimit(0, RLIMIT_NOFILE, &limit, nullptr));
    for (const unsigned long half : {1ul, 1ul << 32})
      say.result("half a pointer", ::syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, half, &limit));
    say.result("other's limit", ::prlimit(1, RLIMIT_NOFILE, nullptr, &limit));
    cpu_set_t cores;
    say.result("cores", ::sched_getaffinity(0, sizeof cores, &cores));
    say.result("own cores", ::sched_setaffinity(0, sizeof cores, &cores));
    say.result("other's cores", ::sched_setaffinity(1, sizeof cores, &cores));
    say.result("ring", ::syscall(SYS_io_uring_setup, 1, nullptr));
    say.result("counters", ::syscall(SYS_perf_event_open, nullptr, 0, -1, -1, 0));
    say.result("key", ::syscall(SYS_keyctl, 0, 0, 0, 0, 0));
  };
  EXPECT_EQ(said_by(body),
            "filter: EPERM\nioctl: EPERM\ndumpable: EPERM\nread limit: ok\nset limit: EPERM\n"
            "half a pointer: EPERM\nhalf a pointer: EPERM\nother's limit: EPERM\ncores: ok\nown "
            "cores: ok\nother's cores: EPERM\nring: EPERM\n"
            "counters: EPERM\nkey: EPERM\n");
}

TEST_F(SyscallFilter, LockedDown_AThreadHasAnotherFilter_IsRefusedByItsNumber) {
  if (!has("seccomp")) GTEST_SKIP() << machine();
  const auto body = [](Speaker& say) {
    int gate[2];
    if (::pipe2(gate, O_CLOEXEC) != 0) ::_exit(1);
    pid_t number = 0;
    std::thread odd([&] {
      ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
      sock_filter pass{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW};
      const sock_fprog program{1, &pass};
      if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0) ::_exit(1);
      number = ::gettid();
      if (::write(gate[1], "x", 1) != 1) ::_exit(1);
      std::mutex mutex;
      std::unique_lock lock(mutex);
      std::condition_variable never;
      never.wait(lock, [] { return false; });
    });
    char byte;
    if (::read(gate[0], &byte, 1) != 1) ::_exit(1);
    const SandboxReport report = lock_down({});
    say.line(report.words());
    const std::string thread = "thread " + std::to_string(number) + ",";
    say.line(report.refused.at(0).find(thread) != std::string::npos ? "named" : "not");
    ::_exit(0);
  };
  EXPECT_EQ(said_by(body), "none\nnamed\n");
}

TEST_F(SyscallFilter, LockedDown_WhatAServerDoesAllDay_Works) {
  if (!has("seccomp") || !has("landlock")) GTEST_SKIP() << machine();
  const auto body = [&](Speaker& say) {
    int pair[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) ::_exit(1);
    const SandboxReport report = lock_down(confine_files(files(), enter_namespaces()));
    say.line(report.words());
    const timeval limit{.tv_sec = 5, .tv_usec = 0};
    say.result("timeout", ::setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    int value = 0;
    socklen_t size = sizeof value;
    say.result("error", ::getsockopt(pair[0], SOL_SOCKET, SO_ERROR, &value, &size));
    say.result("flags", ::fcntl(pair[0], F_SETFL, ::fcntl(pair[0], F_GETFL) | O_NONBLOCK));
    say.result("send", ::send(pair[1], "abc", 3, MSG_NOSIGNAL));
    say.result("waiting", ::ioctl(pair[0], FIONREAD, &value));
    pollfd watched{pair[0], POLLIN, 0};
    say.result("poll", ::poll(&watched, 1, -1) == 1 && value == 3 ? 0 : -1);
    say.result("name", ::prctl(PR_SET_NAME, "slot", 0, 0, 0));
    struct sysinfo facts {};
    say.result("memory", ::sysinfo(&facts));
    struct stat status {};
    say.result("size", ::fstat(pair[0], &status));
    std::ifstream model(model_);
    std::string text;
    say.line(model >> text ? text : "unreadable");
    try {
      throw std::runtime_error("caught");
    } catch (const std::exception& failure) { say.line(failure.what()); }
    std::mutex mutex;
    std::condition_variable changed;
    std::size_t grown = 0;
    std::array<std::thread, 4> threads;
    for (std::thread& thread : threads)
      thread = std::thread([&] {
        std::vector<std::string> memory;
        for (std::size_t kib = 1; kib <= 4096; kib *= 2) memory.emplace_back(kib * 1024, 'x');
        const std::lock_guard lock(mutex);
        grown += memory.size();
        changed.notify_all();
      });
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return grown == 4 * 13; });
    lock.unlock();
    for (std::thread& thread : threads) thread.join();
    say.line(std::thread::hardware_concurrency() > 0 ? "cores" : "no cores");
  };
  EXPECT_EQ(said_by(body),
            machine_words() +
                "\ntimeout: ok\nerror: ok\nflags: ok\nsend: ok\nwaiting: ok\npoll: ok\nname: ok\n"
                "memory: ok\nsize: ok\nweights\ncaught\ncores\n");
}

}  // namespace
}  // namespace glowplug::worker
