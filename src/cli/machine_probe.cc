#include "cli/machine_probe.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sched.h>
#include <unistd.h>

#include <fmt/format.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

#include "base/unique_fd.h"
#include "base/units.h"

namespace glowplug::cli {
namespace {

constexpr std::uint64_t kGiB = 1ull << 30;

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// A field of /proc/meminfo; the kernel writes them in KiB. 0 when absent.
std::uint64_t memory_field(std::string_view name) {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(name))
      return std::strtoull(line.c_str() + name.size(), nullptr, 10) * 1024;
  return 0;
}

// The limit of this process's own cgroup, version 2; 0 when there is none.
std::uint64_t cgroup_memory_max() {
  const std::string group = first_line("/proc/self/cgroup");
  if (!group.starts_with("0::")) return 0;
  return std::strtoull(first_line("/sys/fs/cgroup" + group.substr(3) + "/memory.max").c_str(),
                       nullptr, 10);
}

Check check_pidfd() {
  const UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
  if (fd.valid()) return {"pidfd", Level::Ok, "available", ""};
  return {"pidfd", Level::Fail, std::strerror(errno),
          "use Linux 5.3 or newer, or let the container's filter pass pidfd_open"};
}

Check check_landlock() {
#ifdef SYS_landlock_create_ruleset
  constexpr unsigned kAskVersion = 1;  // LANDLOCK_CREATE_RULESET_VERSION
  const long version = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, kAskVersion);
  if (version > 0) return {"landlock", Level::Ok, fmt::format("version {}", version), ""};
#endif
  return {"landlock", Level::Warn, "not available",
          "start Linux 5.13 or newer with landlock in lsm=…"};
}

Check check_seccomp() {
  std::uint32_t action = SECCOMP_RET_KILL_PROCESS;
  if (::syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0)
    return {"seccomp", Level::Ok, "filters available", ""};
  return {"seccomp", Level::Warn, std::strerror(errno), "use a kernel with CONFIG_SECCOMP_FILTER"};
}

Check check_cgroup() {
  if (::access("/sys/fs/cgroup/cgroup.controllers", R_OK) == 0)
    return {"cgroup", Level::Ok, "version 2", ""};
  const bool first = ::access("/sys/fs/cgroup/memory", R_OK) == 0;
  return {"cgroup", Level::Warn, first ? "version 1" : "not mounted",
          "boot with systemd.unified_cgroup_hierarchy=1; a memory limit of the container is not "
          "seen until then"};
}

// The nearest folder above that exists: what is made later lands on its file system.
std::filesystem::path existing_above(std::filesystem::path path) {
  std::error_code error;
  path = std::filesystem::absolute(path, error);
  while (!std::filesystem::exists(path, error) && path.has_relative_path())
    path = path.parent_path();
  return path;
}

std::string_view to_string(Level level) {
  return level == Level::Ok ? "ok" : level == Level::Warn ? "warn" : "fail";
}

}  // namespace

std::vector<Check> check_kernel() {
  utsname name{};
  ::uname(&name);
  int major = 0;
  int minor = 0;
  std::sscanf(name.release, "%d.%d", &major, &minor);
  Check kernel{"kernel", Level::Ok,
               fmt::format("{} {} {}", name.sysname, name.release, name.machine), ""};
  if (major < 5 || (major == 5 && minor < 10)) {
    kernel.level = Level::Warn;
    kernel.fix = "use Linux 5.10 or newer";
  }
  return {kernel, check_pidfd(), check_landlock(), check_seccomp(), check_cgroup()};
}

Check check_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  const int cores = ::sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) : 1;
  Check check{"cores", Level::Ok, fmt::format("{}", cores), ""};
  if (cores < 2) {
    check.level = Level::Warn;
    check.fix = "give it two or more cores; with one, the server and a replica take turns";
  }
  return check;
}

Check check_memory() {
  std::uint64_t available = memory_field("MemAvailable:");
  std::string found = fmt::format("{} available of {}", format_bytes(available),
                                  format_bytes(memory_field("MemTotal:")));
  if (const std::uint64_t limit = cgroup_memory_max(); limit > 0) {
    found += fmt::format(", cgroup limit {}", format_bytes(limit));
    available = std::min(available, limit);
  }
  if (available < kGiB / 2)
    return {"memory", Level::Fail, found, "free memory; the smallest models need 512 MB"};
  if (available < 2 * kGiB)
    return {"memory", Level::Warn, found,
            "only models below 1 GB will fit; free memory for larger ones"};
  return {"memory", Level::Ok, found, ""};
}

Check check_folder(const Folder& folder) {
  const std::filesystem::path place = existing_above(folder.path);
  struct statvfs room {};
  if (::statvfs(place.c_str(), &room) != 0)
    return {folder.name, Level::Fail, fmt::format("{}: {}", folder.path, std::strerror(errno)),
            "name another folder"};
  const std::uint64_t free_bytes = static_cast<std::uint64_t>(room.f_bavail) * room.f_frsize;
  const std::string found = fmt::format("{}, {} free", folder.path, format_bytes(free_bytes));
  std::error_code error;
  if (!std::filesystem::is_directory(place, error))
    return {folder.name, Level::Fail,
            fmt::format("{}: '{}' is no folder", folder.path, place.string()),
            "move that file away or name another folder"};
  if (::access(place.c_str(), W_OK | X_OK) != 0)
    return {folder.name, Level::Fail, found + ", not writable",
            fmt::format("make '{}' writable for this user or name another folder", place.string())};
  if (free_bytes < folder.room_bytes_min)
    return {folder.name, Level::Warn, found,
            fmt::format("free at least {}", format_bytes(folder.room_bytes_min))};
  return {folder.name, Level::Ok, found, ""};
}

Check check_worker(const std::string& path) {
  std::error_code error;
  std::filesystem::path worker = path;
  if (path.empty())
    worker =
        std::filesystem::read_symlink("/proc/self/exe", error).parent_path() / "glowplug-worker";
  if (::access(worker.c_str(), X_OK) == 0 && std::filesystem::is_regular_file(worker, error))
    return {"worker", Level::Ok, worker.string(), ""};
  return {"worker", Level::Fail, fmt::format("'{}' cannot be run", worker.string()),
          "install glowplug-worker beside glowplug, or name it with --worker PATH"};
}

std::string format_check(const Check& check) {
  std::string line =
      fmt::format("{:4}  {:12}  {}", to_string(check.level), check.name, check.found);
  if (!check.fix.empty()) line += fmt::format("\n{:20}→ {}", "", check.fix);
  return line;
}

boost::json::object to_json(const Check& check) {
  return {{"check", check.name},
          {"level", std::string(to_string(check.level))},
          {"found", check.found},
          {"fix", check.fix.empty() ? boost::json::value(nullptr) : boost::json::value(check.fix)}};
}

}  // namespace glowplug::cli
