#include "worker/syscall_filter.h"

#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <fcntl.h>
#include <initializer_list>
#include <sched.h>
#include <utility>

#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif

namespace glowplug::worker {
namespace {

#if defined(__x86_64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#else
#error "the numbers of system calls are checked for x86_64 and aarch64 only"
#endif

constexpr std::uint32_t kAllow = SECCOMP_RET_ALLOW;
constexpr std::uint32_t kDeny = SECCOMP_RET_ERRNO | EPERM;
constexpr std::uint32_t kUnknown = SECCOMP_RET_ERRNO | ENOSYS;
constexpr std::uint32_t kKill = SECCOMP_RET_KILL_PROCESS;

// One condition on one argument. Flags and numbers are 32 bits wide for the kernel, or have no
// meaning above, and what a register holds above them is the caller's rubbish; pointers are whole.
struct Check {
  enum class Kind { kOneOf, kOnlyBits, kAllBits, kNull };
  std::size_t argument;
  Kind kind;
  std::vector<std::uint32_t> values;
};

// Holds when every check does. A call may have several rules; one that holds is enough.
struct Rule {
  long call;
  std::vector<Check> checks;
};

Check one_of(std::size_t argument, std::vector<std::uint32_t> values) {
  return {argument, Check::Kind::kOneOf, std::move(values)};
}
Check only_bits(std::size_t argument, std::uint32_t mask) {
  return {argument, Check::Kind::kOnlyBits, {mask}};
}
Check all_bits(std::size_t argument, std::uint32_t mask) {
  return {argument, Check::Kind::kAllBits, {mask}};
}
Check null(std::size_t argument) { return {argument, Check::Kind::kNull, {}}; }

// What the C library asks for when it starts a thread; a new process or namespace has other bits.
constexpr std::uint32_t kThreadFlags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND |
                                       CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS |
                                       CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;

// The table. A call without checks is meant whatever its arguments are.
class Rules final {
 public:
  void add(std::initializer_list<long> calls) {
    for (const long call : calls) rules_.push_back({call, {}});
  }
  void add(long call, std::initializer_list<Check> checks) { rules_.push_back({call, checks}); }
  const std::vector<Rule>& all() const { return rules_; }

 private:
  std::vector<Rule> rules_;
};

void add_serving(Rules& rules) {
  // Threads wait for and wake each other.
  rules.add({SYS_futex, SYS_sched_yield, SYS_membarrier, SYS_restart_syscall});
  // Descriptors that exist: the listening socket, connections, the server's pipes.
  rules.add({SYS_read, SYS_readv, SYS_pread64, SYS_write, SYS_writev, SYS_lseek, SYS_close,
             SYS_recvfrom, SYS_recvmsg, SYS_sendto, SYS_sendmsg, SYS_accept, SYS_accept4,
             SYS_shutdown, SYS_getsockname, SYS_getpeername, SYS_getsockopt, SYS_fstat});
  // Time-outs and the like; not SO_ATTACH_FILTER, which loads a program into the kernel.
  rules.add(SYS_setsockopt, {one_of(1, {SOL_SOCKET}),
                             one_of(2, {SO_RCVTIMEO, SO_SNDTIMEO, SO_KEEPALIVE, SO_LINGER})});
  // Not F_SETOWN, which has the kernel send signals to others.
  rules.add(SYS_fcntl, {one_of(1, {F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC})});
  rules.add(SYS_ioctl, {one_of(1, {FIONBIO, FIONREAD})});
  // Waiting for descriptors; epoll and timers were made before.
  rules.add({SYS_ppoll, SYS_epoll_pwait, SYS_epoll_ctl, SYS_timerfd_settime});
#ifdef __x86_64__
  rules.add({SYS_poll, SYS_epoll_wait});
#endif
}

void add_running(Rules& rules, std::uint32_t own_pid) {
  // Memory, never executable.
  rules.add(SYS_mmap, {only_bits(2, PROT_READ | PROT_WRITE)});
  rules.add(SYS_mprotect, {only_bits(2, PROT_READ | PROT_WRITE)});
  rules.add({SYS_munmap, SYS_mremap, SYS_madvise, SYS_brk});
  // A thread's life. clone3 takes its flags from memory, where a filter cannot look.
  rules.add(SYS_clone, {all_bits(0, CLONE_THREAD), only_bits(0, kThreadFlags)});
  rules.add({SYS_set_robust_list, SYS_rseq, SYS_sched_getaffinity, SYS_exit, SYS_exit_group});
  rules.add(SYS_sched_setaffinity, {one_of(0, {0})});
  rules.add(SYS_prctl, {one_of(0, {PR_SET_NAME, PR_SET_VMA})});
  // Signals: waited for and handled, and sent to this process only.
  rules.add({SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_rt_sigtimedwait,
             SYS_rt_sigpending, SYS_rt_sigsuspend});
  rules.add(SYS_tgkill, {one_of(0, {own_pid})});
  // Clocks and chance; most are answered without the kernel.
  rules.add({SYS_clock_gettime, SYS_clock_getres, SYS_clock_nanosleep, SYS_nanosleep,
             SYS_gettimeofday, SYS_getrandom});
#ifdef __x86_64__
  rules.add({SYS_time});
#endif
  // Facts about itself and the machine. That a path exists, its size and date are no secret here:
  // the C library looks at the time zone's file each time it converts a date.
  rules.add(
      {SYS_getpid, SYS_gettid, SYS_uname, SYS_sysinfo, SYS_getcpu, SYS_newfstatat, SYS_statx});
  rules.add(SYS_prlimit64, {one_of(0, {0, own_pid}), null(2)});
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  // The sanitizers' run time: a stack for signals in each thread, a pipe to probe an address.
  rules.add({SYS_sigaltstack, SYS_pipe2});
#endif
}

// What Landlock keeps to the model and the replica's folder. Nothing there can be written; a memory
// file of the server's can, by its descriptor's path.
void add_paths(Rules& rules) {
  // O_PATH is not among the flags: Landlock does not look at such an open.
  rules.add(SYS_openat, {only_bits(2, O_RDONLY | O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC |
                                          O_NOFOLLOW | O_DIRECTORY)});
  rules.add({SYS_unlinkat});
#ifdef __x86_64__
  rules.add({SYS_unlink});
#endif
}

// What ends the process.
void add_hostile(Rules& rules) {
  // Another program in this one's place.
  rules.add({SYS_execve, SYS_execveat});
  // Another process's memory.
  rules.add({SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev});
  // Code for the kernel, and what attacks on it are made with.
  rules.add({SYS_init_module, SYS_finit_module, SYS_kexec_load, SYS_bpf, SYS_userfaultfd});
  // Other file systems and namespaces.
  rules.add({SYS_mount, SYS_umount2, SYS_pivot_root, SYS_setns});
}

// Puts instructions one after the other. A rule is a block: it loads the number, and wherever it
// does not hold it jumps behind its own end.
class Assembler final {
 public:
  void load(std::size_t offset) {
    put(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset), 0, 0);
  }
  void answer(std::uint32_t verdict) { put(BPF_RET | BPF_K, verdict, 0, 0); }

  // Each skips the one instruction that follows unless the loaded word is such.
  void if_not_equal(std::uint32_t value) { put(BPF_JMP | BPF_JEQ | BPF_K, value, 1, 0); }
  void if_at_least(std::uint32_t value) { put(BPF_JMP | BPF_JGE | BPF_K, value, 0, 1); }

  void rule(const Rule& rule, std::uint32_t verdict) {
    const std::size_t begin = code_.size();
    load(offsetof(seccomp_data, nr));
    require_one_of({static_cast<std::uint32_t>(rule.call)});
    for (const Check& check : rule.checks) require(check);
    answer(verdict);
    for (std::size_t at = begin; at < code_.size(); ++at) {
      const auto behind = static_cast<std::uint8_t>(code_.size() - at - 1);
      if (code_[at].jt == kBehindRule) code_[at].jt = behind;
      if (code_[at].jf == kBehindRule) code_[at].jf = behind;
    }
  }

  std::vector<sock_filter> code() && { return std::move(code_); }

 private:
  static constexpr std::uint8_t kBehindRule = 255;  // longer than any rule; replaced at its end

  void put(int operation, std::uint32_t value, std::uint8_t if_true, std::uint8_t if_false) {
    code_.push_back({static_cast<std::uint16_t>(operation), if_true, if_false, value});
  }

  void require_one_of(const std::vector<std::uint32_t>& values) {
    for (std::size_t left = values.size(); left-- > 0;) {
      put(BPF_JMP | BPF_JEQ | BPF_K, values[left], static_cast<std::uint8_t>(left),
          left == 0 ? kBehindRule : std::uint8_t{0});
    }
  }

  void require(const Check& check) {
    static_assert(std::endian::native == std::endian::little, "the low word comes first");
    const std::size_t low = offsetof(seccomp_data, args) + check.argument * sizeof(std::uint64_t);
    load(low);
    switch (check.kind) {
      case Check::Kind::kOneOf: return require_one_of(check.values);
      case Check::Kind::kOnlyBits:
        return put(BPF_JMP | BPF_JSET | BPF_K, ~check.values.front(), kBehindRule, 0);
      case Check::Kind::kAllBits:
        put(BPF_ALU | BPF_AND | BPF_K, check.values.front(), 0, 0);
        return require_one_of(check.values);
      case Check::Kind::kNull:
        require_one_of({0});
        load(low + sizeof(std::uint32_t));
        return require_one_of({0});
    }
  }

  std::vector<sock_filter> code_;
};

}  // namespace

std::vector<sock_filter> syscall_filter(pid_t self, Paths paths) {
  Assembler filter;
  filter.load(offsetof(seccomp_data, arch));
  filter.if_not_equal(kArchitecture);
  filter.answer(kKill);
#ifdef __x86_64__
  constexpr std::uint32_t kX32Bit = 0x40000000;  // the same architecture with its own numbers
  filter.load(offsetof(seccomp_data, nr));
  filter.if_at_least(kX32Bit);
  filter.answer(kKill);
#endif
  Rules allowed;
  add_serving(allowed);
  add_running(allowed, static_cast<std::uint32_t>(self));
  if (paths == Paths::kConfined) add_paths(allowed);
  for (const Rule& rule : allowed.all()) filter.rule(rule, kAllow);
  Rules hostile;
  add_hostile(hostile);
  for (const Rule& rule : hostile.all()) filter.rule(rule, kKill);
  filter.load(offsetof(seccomp_data, nr));
  filter.if_at_least(SYS_clone3);
  filter.answer(kUnknown);
  filter.answer(kDeny);
  return std::move(filter).code();
}

}  // namespace glowplug::worker
