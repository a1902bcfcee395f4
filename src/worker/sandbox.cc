#include "worker/sandbox.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <sched.h>
#include <string_view>
#include <unistd.h>
#include <utility>

#include <linux/capability.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/unique_fd.h"
#include "worker/syscall_filter.h"

namespace glowplug::worker {
namespace {

void refuse(SandboxReport& report, std::string_view what, int error) {
  report.refused.push_back(std::string(what) + ": " + std::strerror(error));
}

// An exec can add none then, and the unprivileged may bring rules and filters.
void refuse_new_privileges(SandboxReport& report) {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
    refuse(report, "the kernel does not promise to grant no new privileges", errno);
}

// ---- namespaces

constexpr int kNamespaces = CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;

// The files of /proc/self belong to root while a process cannot be dumped.
class DumpableMeanwhile final {
 public:
  DumpableMeanwhile() : before_(::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0)) { set(1); }
  DumpableMeanwhile(const DumpableMeanwhile&) = delete;
  DumpableMeanwhile& operator=(const DumpableMeanwhile&) = delete;
  ~DumpableMeanwhile() { set(before_ == 1 ? 1 : 0); }

 private:
  static void set(unsigned long value) { ::prctl(PR_SET_DUMPABLE, value, 0, 0, 0); }
  int before_;
};

bool write_file(const char* path, std::string_view text) {
  const UniqueFd fd(::open(path, O_WRONLY | O_CLOEXEC));
  return fd.valid() &&
         ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

std::string maps_to_itself(unsigned id) {
  return std::to_string(id) + " " + std::to_string(id) + " 1";
}

// ---- Landlock

// Landlock's interface grows with its version, and a distribution's header may be older than the
// kernel: numbers and layouts are written out here (Documentation/userspace-api/landlock.rst).
struct LandlockRuleset {
  std::uint64_t files;
  std::uint64_t network;  // since 4; zeroes behind what a kernel knows are no error
  std::uint64_t scoped;   // since 6
};

struct [[gnu::packed]] LandlockPath {
  std::uint64_t rights;
  std::int32_t fd;
};

constexpr unsigned kLandlockVersion = 1;  // asks landlock_create_ruleset for the version
constexpr int kLandlockPathBeneath = 1;   // the only kind of rule that is added here

enum FileRight : std::uint64_t {
  kReadFile = 1 << 2,
  kReadFolder = 1 << 3,
  kRemoveFile = 1 << 5,
  kMakeSocket = 1 << 9,
};

// Its socket, and nothing else: no file to fill a disk with, and no link that could lead elsewhere
// whoever reads the folder later.
constexpr std::uint64_t kFolderRights = kReadFolder | kRemoveFile | kMakeSocket;

// What the kernel is told to forbid: everything that it knows of.
struct LandlockVersion {
  int abi;
  LandlockRuleset all;
};
constexpr std::array kLandlockVersions{
    LandlockVersion{9, {0x1ffff, 3, 3}},  // 7.1: connecting to Unix sockets by path
    LandlockVersion{6, {0xffff, 3, 3}},   // 6.12: signals and abstract sockets leave no domain
    LandlockVersion{5, {0xffff, 3, 0}},   // 6.10: ioctl on devices
    LandlockVersion{4, {0x7fff, 3, 0}},   // 6.7: binding and connecting by TCP
    LandlockVersion{3, {0x7fff, 0, 0}},   // 6.2: truncating
    LandlockVersion{2, {0x3fff, 0, 0}},   // 5.19: moving between folders
    LandlockVersion{1, {0x1fff, 0, 0}},   // 5.13
};

struct Ruleset {
  UniqueFd fd;
  std::uint64_t files = 0;  // the rights that it handles
};

// Some kernels claim a version without all of it (RHEL 9 has said 6 and known no signals), so an
// older set is tried as well.
Ruleset make_ruleset(int abi) {
  for (const LandlockVersion& version : kLandlockVersions) {
    if (version.abi > abi) continue;
    UniqueFd fd(static_cast<int>(
        ::syscall(SYS_landlock_create_ruleset, &version.all, sizeof version.all, 0)));
    if (fd.valid() || errno != EINVAL) return {std::move(fd), version.all.files};
  }
  return {};
}

// A path that does not exist is left for whoever needs it to complain about.
bool allow_path(const Ruleset& ruleset, const std::string& path, std::uint64_t rights) {
  const UniqueFd fd(::open(path.c_str(), O_PATH | O_CLOEXEC));
  if (!fd.valid()) return errno == ENOENT;
  const LandlockPath rule{rights & ruleset.files, fd.get()};
  return ::syscall(SYS_landlock_add_rule, ruleset.fd.get(), kLandlockPathBeneath, &rule, 0) == 0;
}

void apply_landlock(const FileAccess& access, SandboxReport& report) {
  const long abi = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, kLandlockVersion);
  if (abi < 1) return refuse(report, "the kernel has no Landlock or has it switched off", errno);
  const Ruleset ruleset = make_ruleset(static_cast<int>(abi));
  if (!ruleset.fd.valid()) return refuse(report, "the kernel makes no Landlock ruleset", errno);
  for (const std::string& path : access.readable_files) {
    if (!allow_path(ruleset, path, kReadFile))
      refuse(report, "Landlock keeps " + path + " out of reach, its rule was not taken", errno);
  }
  if (!access.own_folder.empty() && !allow_path(ruleset, access.own_folder, kFolderRights))
    refuse(report, "Landlock keeps " + access.own_folder + " out of reach, its rule was not taken",
           errno);
  if (::syscall(SYS_landlock_restrict_self, ruleset.fd.get(), 0) != 0)
    return refuse(report, "the kernel does not apply the Landlock ruleset", errno);
  report.landlock_abi = static_cast<int>(abi);
}

// ---- capabilities

using CapabilitySets = std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3>;

bool holds_no_capability() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  CapabilitySets sets{};
  if (::syscall(SYS_capget, &header, sets.data()) != 0) return false;
  return std::all_of(sets.begin(), sets.end(), [](const __user_cap_data_struct& set) {
    return !set.effective && !set.permitted && !set.inheritable;
  });
}

// The bounding set needs a capability to be emptied. A process without any cannot, and need not: it
// would only matter at an exec, which no_new_privs keeps from adding any.
void drop_capabilities(SandboxReport& report) {
  for (unsigned long number = 0; ::prctl(PR_CAPBSET_DROP, number, 0, 0, 0) == 0; ++number) {}
  ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  const CapabilitySets none{};
  if (::syscall(SYS_capset, &header, none.data()) != 0)
    return refuse(report, "the kernel does not take the capabilities back", errno);
  report.capabilities_dropped = holds_no_capability();
  if (!report.capabilities_dropped)
    report.refused.emplace_back("capabilities are left after all were given back");
}

// ---- threads

// Without /proc there is no telling, and the caller is believed.
bool has_other_threads() {
  constexpr nlink_t kWithOneThread = 3;  // the folder's own two links, and one for each thread
  struct stat status {};
  return ::stat("/proc/self/task", &status) == 0 && status.st_nlink > kWithOneThread;
}

}  // namespace

std::string SandboxReport::words() const {
  std::string text;
  const auto add = [&text](std::string_view word) {
    if (!text.empty()) text += ',';
    text += word;
  };
  if (network_namespace) add("netns");
  if (landlock_abi > 0) add("landlock" + std::to_string(landlock_abi));
  if (seccomp) add("seccomp");
  if (capabilities_dropped) add("nocaps");
  return text.empty() ? "none" : text;
}

void SandboxReport::print_refused() const {
  for (const std::string& sentence : refused)
    std::fprintf(stderr, "sandbox: %s\n", sentence.c_str());
}

FileAccess access_of(const std::string& socket_path, const std::string& model_path) {
  FileAccess access{.own_folder = socket_path.substr(0, socket_path.rfind('/'))};
  if (!model_path.empty()) access.readable_files.push_back(model_path);
  return access;
}

SandboxReport enter_namespaces() {
  SandboxReport report;
  report.network_namespace = ::unshare(kNamespaces) == 0;
  if (report.network_namespace) return report;
  const std::string user = maps_to_itself(::geteuid()), group = maps_to_itself(::getegid());
  if (::unshare(CLONE_NEWUSER | kNamespaces) != 0) {
    refuse(report, "the machine gives no network namespace without privileges", errno);
    return report;
  }
  report.network_namespace = true;
  // The kernel takes a group's map from the unprivileged only once they cannot leave groups.
  const DumpableMeanwhile dumpable;
  if (!write_file("/proc/self/uid_map", user) || !write_file("/proc/self/setgroups", "deny") ||
      !write_file("/proc/self/gid_map", group))
    refuse(report, "the user namespace knows no user, so this process sees itself as nobody",
           errno);
  return report;
}

SandboxReport confine_files(const FileAccess& files, SandboxReport so_far) {
  if (has_other_threads()) {
    so_far.refused.emplace_back(
        "files are not confined and capabilities not dropped: other threads run already, and both "
        "would bind one thread only");
    return so_far;
  }
  ::tzset();
  refuse_new_privileges(so_far);
  apply_landlock(files, so_far);
  drop_capabilities(so_far);
  return so_far;
}

SandboxReport lock_down(SandboxReport so_far) {
  refuse_new_privileges(so_far);
  std::vector<sock_filter> code =
      syscall_filter(::getpid(), so_far.landlock_abi > 0 ? Paths::kConfined : Paths::kOpen);
  const sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
  const long result =
      ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
  if (result == 0) so_far.seccomp = true;
  if (result < 0) refuse(so_far, "the kernel takes no filter of system calls", errno);
  if (result > 0)
    so_far.refused.push_back("the filter of system calls does not fit thread " +
                             std::to_string(result) + ", which has another one");
  return so_far;
}

}  // namespace glowplug::worker
