#include "runtime/child_spawn.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>
#include <utility>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "domain/errors.h"
#include "runtime/reaping.h"

namespace glowplug::runtime {
namespace {

constexpr std::size_t kKernelSignalSetBytes = 8;

constexpr int kControlFd = 3;
constexpr int kLifelineFd = 4;
constexpr int kFirstOwnFd = 10;  // above every number the child's descriptors are moved to
constexpr std::size_t kStackBytes = 64 * 1024;  // the child's few calls before it executes

Error failed(const char* step, int error) {
  return Error{
      std::string(domain::error::kFunctionFailed),
      fmt::format("the replica's process cannot be started: {}: {}", step, std::strerror(error)),
      {}};
}

struct ChildTask {
  const char* program;
  char* const* argv;
  char* const* envp;
  pid_t parent;
  int input, output, control, lifeline;  // control and lifeline are -1 for a process engine
  const Leaf* leaf;                      // to be entered by the child; null when it is born there
  const char* step = "clone";
  int error = 0;
};

// The child leaves its frames by execve, so a sanitizer's marks on them would stay for whoever maps
// that memory next.
#define GLOWPLUG_CHILD_ONLY __attribute__((no_sanitize("address", "thread")))

// Asks for SIGKILL on the server's death and notices when that has happened already.
GLOWPLUG_CHILD_ONLY bool dies_with(pid_t parent) {
  return ::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && ::getppid() == parent;
}

GLOWPLUG_CHILD_ONLY bool place_descriptors(ChildTask& task) {
  task.step = "dup2";
  if (::dup2(task.input, 0) < 0 || ::dup2(task.output, 1) < 0 || ::dup2(task.output, 2) < 0)
    return false;
  int kept = 3;
  if (task.control >= 0) {
    if (::dup2(task.control, kControlFd) < 0 || ::dup2(task.lifeline, kLifelineFd) < 0)
      return false;
    kept = kLifelineFd + 1;
  }
  task.step = "close_range";
  return ::close_range(static_cast<unsigned>(kept), ~0U, 0) == 0;
}

// Runs in the child, in the server's memory and on a stack of its own: only system calls, and it
// returns instead of exiting. The parent stands still until execve or the return.
GLOWPLUG_CHILD_ONLY int child_main(void* argument) {
  ChildTask& task = *static_cast<ChildTask*>(argument);
  task.step = "prctl";
  bool ready = dies_with(task.parent);
  if (ready) {
    task.step = "setpgid";
    ready = ::setpgid(0, 0) == 0;
  }
  if (task.leaf != nullptr) task.leaf->enter();  // before its descriptors are closed
  ready = ready && place_descriptors(task);
  if (ready) {
    // The kernel's own struct, all zeros: every signal's default. Not through libc, whose sanitizer
    // keeps the parent's handlers in the memory that is shared here.
    const unsigned long defaults[8] = {};
    for (int number = 1; number < NSIG; ++number)
      ::syscall(SYS_rt_sigaction, number, defaults, nullptr,
                kKernelSignalSetBytes);  // fails for a few
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    task.step = "prctl";
    ready = dies_with(task.parent);
  }
  if (ready) {
    task.step = "execve";
    ::execve(task.program, task.argv, task.envp);
  }
  task.error = errno != 0 ? errno : ESRCH;
  return 127;
}

// clone() as the C library has it, for the one flag that it cannot pass on: the child calls
// child_main on its own stack and ends with its status. Returns -errno; the plain way is the
// answer to every error.
pid_t clone_into_leaf([[maybe_unused]] clone_args& arguments, [[maybe_unused]] ChildTask& task) {
  long result = -ENOSYS;
#if defined(__x86_64__)
  register int (*body)(void*) __asm__("r8") = child_main;
  register void* argument __asm__("r9") = &task;
  __asm__ volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xor %%ebp, %%ebp\n\t"  // where a stack's walk ends
      "mov %[argument], %%rdi\n\t"
      "call *%[body]\n\t"
      "mov %%eax, %%edi\n\t"
      "mov %[exit], %%eax\n\t"
      "syscall\n\t"
      "1:"
      : "=a"(result)
      : "0"(static_cast<long>(SYS_clone3)), "D"(&arguments),
        "S"(sizeof arguments), [body] "r"(body), [argument] "r"(argument), [exit] "i"(SYS_exit)
      : "rcx", "r11", "cc", "memory");
#endif
  return static_cast<pid_t>(result);
}

std::vector<char*> pointers(const std::vector<std::string>& words) {
  std::vector<char*> list;
  list.reserve(words.size() + 1);
  for (const std::string& word : words) list.push_back(const_cast<char*>(word.c_str()));
  list.push_back(nullptr);
  return list;
}

// Moves a descriptor above those that the child fills, so that no dup2 closes the source of a later
// one.
bool lift(UniqueFd& fd) {
  if (fd.get() >= kFirstOwnFd) return true;
  fd.reset(::fcntl(fd.get(), F_DUPFD_CLOEXEC, kFirstOwnFd));
  return fd.valid();
}

class ChildStack final {
 public:
  ChildStack()
      : base_(::mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0)) {}
  ChildStack(const ChildStack&) = delete;
  ChildStack& operator=(const ChildStack&) = delete;
  ~ChildStack() {
    if (valid()) ::munmap(base_, kStackBytes);
  }
  bool valid() const { return base_ != MAP_FAILED; }
  void* base() const { return base_; }
  void* top() const { return static_cast<char*>(base_) + kStackBytes; }

 private:
  void* base_;
};

}  // namespace

Result<void> open_channels(const LaunchPlan& plan, SpawnedChild& child, ChildEnds& ends) {
  int pair[2];
  if (::pipe2(pair, O_CLOEXEC) != 0) return failed("pipe", errno);
  child.output.reset(pair[0]);
  ends.output.reset(pair[1]);
  ends.input.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!ends.input.valid()) return failed("/dev/null", errno);
  if (::fcntl(child.output.get(), F_SETFL, O_NONBLOCK) != 0) return failed("fcntl", errno);
  bool lifted = lift(ends.input) && lift(ends.output);
  if (plan.readiness == Readiness::ControlChannel) {
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
      return failed("socketpair", errno);
    child.control.reset(pair[0]);
    ends.control.reset(pair[1]);
    if (::fcntl(child.control.get(), F_SETFL, O_NONBLOCK) != 0) return failed("fcntl", errno);
    if (::pipe2(pair, O_CLOEXEC) != 0) return failed("pipe", errno);
    ends.lifeline.reset(pair[0]);
    child.lifeline.reset(pair[1]);
    lifted = lifted && lift(ends.control) && lift(ends.lifeline);
  }
  if (!lifted) return failed("fcntl", errno);
  return {};
}

Result<SpawnedChild> spawn_child(const LaunchPlan& plan, const Leaf* leaf) {
  SpawnedChild child;
  ChildEnds ends;
  const Result<void> opened = open_channels(plan, child, ends);
  if (!opened) return opened.error();
  const ChildStack stack;
  if (!stack.valid()) return failed("mmap", errno);
  const std::vector<char*> argv = pointers(plan.argv);
  const std::vector<char*> envp = pointers(plan.env);
  ChildTask task{.program = plan.program.c_str(),
                 .argv = argv.data(),
                 .envp = envp.data(),
                 .parent = ::getpid(),
                 .input = ends.input.get(),
                 .output = ends.output.get(),
                 .control = ends.control.get(),
                 .lifeline = ends.lifeline.get(),
                 .leaf = nullptr};
  // No handler of the server may run in the child while both share their memory.
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  int pidfd = -1;
  constexpr int kFlags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD;
  pid_t pid = -1;
  if (leaf != nullptr && leaf->fd() >= 0) {
    clone_args arguments{};
    arguments.flags = kFlags | CLONE_INTO_CGROUP;
    arguments.pidfd = reinterpret_cast<std::uint64_t>(&pidfd);
    arguments.exit_signal = SIGCHLD;
    arguments.stack = reinterpret_cast<std::uint64_t>(stack.base());
    arguments.stack_size = kStackBytes;
    arguments.cgroup = static_cast<std::uint64_t>(leaf->fd());
    pid = clone_into_leaf(arguments, task);
  }
  if (pid < 0) {
    task.leaf = leaf;
    pid = ::clone(child_main, stack.top(), kFlags | SIGCHLD, &task, &pidfd);
  }
  const int clone_error = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) return failed("clone", clone_error);
  child.pid = pid;
  child.pidfd.reset(pidfd);
  if (task.error != 0) {
    reap(pid);
    return failed(std::strcmp(task.step, "execve") == 0 ? plan.program.c_str() : task.step,
                  task.error);
  }
  return child;
}

Result<int> find_free_port() {
  const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return failed("socket", errno);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (::bind(fd.get(), generic, size) != 0 || ::getsockname(fd.get(), generic, &size) != 0)
    return failed("bind", errno);
  return ntohs(address.sin_port);
}

}  // namespace glowplug::runtime
