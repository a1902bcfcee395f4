#include "runtime/leftovers.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <signal.h>
#include <sstream>
#include <unistd.h>

#include <fmt/format.h>
#include <sys/stat.h>

#include "base/read_file.h"
#include "domain/errors.h"
#include "runtime/launch_plan.h"

namespace glowplug::runtime {
namespace {

namespace fs = std::filesystem;

constexpr int kLooksMax = 10;

std::optional<long> to_number(const std::string& text) {
  long number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (code != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// Field 22 of /proc/PID/stat; the name in field 2 may hold blanks and brackets, so counting starts
// behind it.
std::optional<unsigned long long> start_time(pid_t pid) {
  const std::optional<std::string> text = read_file(fmt::format("/proc/{}/stat", pid));
  if (!text) return std::nullopt;
  const std::size_t close = text->rfind(')');
  if (close == std::string::npos) return std::nullopt;
  std::istringstream fields(text->substr(close + 1));
  std::string skipped;
  for (int field = 3; field < 22; ++field) fields >> skipped;
  unsigned long long value = 0;
  if (!(fields >> value)) return std::nullopt;
  return value;
}

enum class Owner { Ours, Another, NotKnown };

// A process that is just executing another program shows no environment for that moment. One that
// ends shows none either, and no program.
Owner owner_of(pid_t pid, std::string_view folder) {
  const std::optional<std::string> env = read_file(fmt::format("/proc/{}/environ", pid));
  if (!env) return Owner::Another;
  if (env->empty()) {
    char program[1];
    return ::readlink(fmt::format("/proc/{}/exe", pid).c_str(), program, sizeof program) < 0
               ? Owner::Another
               : Owner::NotKnown;
  }
  const std::string entry = fmt::format("{}={}", kReplicaVariable, folder);
  std::size_t at = 0;
  while (at < env->size()) {
    const std::size_t end = std::min(env->find('\0', at), env->size());
    if (std::string_view(*env).substr(at, end - at) == entry) return Owner::Ours;
    at = end + 1;
  }
  return Owner::Another;
}

bool kill_recorded_group(const fs::path& folder) {
  std::ifstream in(folder / "pid");
  pid_t pid = 0;
  unsigned long long started = 0;
  if (!(in >> pid >> started) || pid <= 1) return false;
  return start_time(pid) == started && ::kill(-pid, SIGKILL) == 0;
}

}  // namespace

Result<void> write_pid_file(const std::string& folder, pid_t pid) {
  const std::optional<unsigned long long> started = start_time(pid);
  std::ofstream out(folder + "/pid");
  out << pid << ' ' << started.value_or(0) << '\n';
  out.close();
  if (out) return {};
  return Error{
      std::string(domain::error::kStorageFailed),
      fmt::format("'{}/pid' cannot be written; free some space or check the folder's rights",
                  folder),
      {}};
}

// Looks again until a look finds nobody new, because a process may fork while /proc is read.
Killed kill_strays(std::string_view folder) {
  Killed killed;
  for (int look = 0; look < kLooksMax; ++look) {
    const std::size_t before = killed.strays.size();
    killed.all_known = true;
    std::error_code code;
    for (fs::directory_iterator entry("/proc", code), end; !code && entry != end;
         entry.increment(code)) {
      const auto pid = static_cast<pid_t>(to_number(entry->path().filename().string()).value_or(0));
      if (pid <= 1 || pid == ::getpid()) continue;
      const Owner owner = owner_of(pid, folder);
      killed.all_known &= owner != Owner::NotKnown;
      if (owner != Owner::Ours) continue;
      std::vector<pid_t>& strays = killed.strays;
      const bool known = std::find(strays.begin(), strays.end(), pid) != strays.end();
      if (!known && ::kill(pid, SIGKILL) == 0) strays.push_back(pid);
    }
    if (killed.strays.size() == before) break;
  }
  return killed;
}

Result<void> own_run_folder(const std::string& run_dir) {
  std::error_code code;
  fs::create_directories(run_dir, code);
  const auto refused = [&run_dir](const std::string& why) {
    return Error{
        std::string(domain::error::kStorageFailed),
        fmt::format("the run folder '{}' {}; remove it, or set XDG_RUNTIME_DIR to a folder "
                    "of your own",
                    run_dir, why),
        {}};
  };
  struct stat status {};
  if (::lstat(run_dir.c_str(), &status) != 0)
    return refused(fmt::format("cannot be made: {}", std::strerror(errno)));
  if (!S_ISDIR(status.st_mode)) return refused("is no folder");
  if (status.st_uid != ::geteuid()) return refused("belongs to another user");
  if ((status.st_mode & 077) != 0 && ::chmod(run_dir.c_str(), 0700) != 0)
    return refused("is open to other users");
  return {};
}

int reap_leftovers(const std::string& run_dir) {
  if (!own_run_folder(run_dir)) return 0;
  int found = 0;
  std::error_code code;
  std::vector<fs::path> folders;
  for (fs::directory_iterator entry(run_dir, code), end; !code && entry != end;
       entry.increment(code)) {
    std::error_code ignored;  // an entry that cannot be looked at is not a replica's folder
    if (entry->is_directory(ignored) && !entry->is_symlink(ignored) &&
        to_number(entry->path().filename().string()))
      folders.push_back(entry->path());
  }
  for (const fs::path& folder : folders) {
    const bool group = kill_recorded_group(folder);
    const bool strays =
        !kill_strays((fs::path(run_dir) / folder.filename()).string()).strays.empty();
    found += group || strays ? 1 : 0;
    fs::remove_all(folder, code);
  }
  return found;
}

}  // namespace glowplug::runtime
