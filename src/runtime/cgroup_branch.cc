#include "runtime/cgroup_branch.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <iterator>
#include <optional>
#include <sstream>
#include <unistd.h>

#include <fmt/format.h>
#include <sys/stat.h>

#include "base/read_file.h"
#include "base/unique_fd.h"
#include "runtime/device_probe.h"

namespace glowplug::runtime {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 3> kControllers{"memory", "cpu", "pids"};
constexpr std::string_view kPrefix = "glowplug-";
constexpr mode_t kFolderMode = 0755;

using Words = std::vector<std::string>;

Words split(const std::string& text) {
  std::istringstream in(text);
  return Words(std::istream_iterator<std::string>(in), {});
}

Words words_of(const std::string& path) { return split(read_text(path)); }

bool contains(const Words& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

Words folders_in(const std::string& path) {
  Words names;
  std::error_code code;
  for (fs::directory_iterator entry(path, code), end; !code && entry != end;
       entry.increment(code)) {
    std::error_code ignored;  // an entry that vanishes is none
    if (entry->is_directory(ignored)) names.push_back(entry->path().filename().string());
  }
  return names;
}

struct Mount {
  std::string inside;  // the cgroup that is the mount's root
  std::string folder;
  int version;
  std::string options;  // ",rw,memory,": a hierarchy of version 1 names its controllers here
};

// mountinfo writes a blank, a tab, a line's end and a backslash as \ooo.
std::string unescaped(std::string_view text) {
  std::string plain;
  while (!text.empty()) {
    unsigned char code = 0;
    const char* end = text.data() + std::min<std::size_t>(4, text.size());
    if (text[0] == '\\' && std::from_chars(text.data() + 1, end, code, 8).ptr == text.data() + 4) {
      plain += static_cast<char>(code);
      text.remove_prefix(4);
    } else {
      plain += text[0];
      text.remove_prefix(1);
    }
  }
  return plain;
}

std::vector<Mount> parse_mounts(const std::string& text) {
  std::vector<Mount> mounts;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    const Words place = split(line.substr(0, dash));
    const Words type = split(line.substr(dash + 3));
    if (place.size() < 5 || type.size() < 3) continue;
    if (type[0] != "cgroup" && type[0] != "cgroup2") continue;
    mounts.push_back(Mount{.inside = unescaped(place[3]),
                           .folder = unescaped(place[4]),
                           .version = type[0] == "cgroup2" ? 2 : 1,
                           .options = "," + type[2] + ","});
  }
  return mounts;
}

// Where a cgroup is seen through a mount; nothing when it lies outside of what is mounted.
std::optional<std::string> seen_through(const Mount& mount, const std::string& path) {
  const std::string inside = mount.inside == "/" ? "" : mount.inside;
  const std::string group = path == "/" ? "" : path;
  if (!group.starts_with(inside)) return std::nullopt;
  const std::string rest = group.substr(inside.size());
  if (rest.starts_with("/..") || !(rest.empty() || rest[0] == '/')) return std::nullopt;
  return mount.folder + rest;
}

std::optional<std::string> own_folder(const std::vector<Mount>& mounts, const CgroupPaths& paths,
                                      std::string_view controller) {
  const auto v1 = paths.v1.find(controller);
  const int version = v1 != paths.v1.end() ? 1 : 2;
  if (version == 2 && !paths.unified) return std::nullopt;
  const std::string option = version == 1 ? fmt::format(",{},", controller) : "";
  for (const Mount& mount : mounts) {
    if (mount.version != version || mount.options.find(option) == std::string::npos) continue;
    if (auto folder = seen_through(mount, version == 1 ? v1->second : *paths.unified))
      return folder;
  }
  return std::nullopt;
}

void refuse(CgroupBranches& all, const std::vector<std::string_view>& controllers,
            const std::string& why) {
  for (const std::string_view controller : controllers)
    all.refused.push_back(fmt::format("{}: {}", controller, why));
}

// The server's own cgroup in each hierarchy that holds one of our controllers.
std::vector<CgroupBranch> find_branches(CgroupBranches& all) {
  const CgroupPaths paths = parse_cgroup_paths(read_text(all.root + "/proc/self/cgroup"));
  const std::vector<Mount> mounts = parse_mounts(read_text(all.root + "/proc/self/mountinfo"));
  std::vector<CgroupBranch> found;
  for (const std::string_view controller : kControllers) {
    const std::optional<std::string> folder = own_folder(mounts, paths, controller);
    if (!folder) {
      refuse(all, {controller}, "no mounted cgroup hierarchy has it and shows the server's cgroup");
      continue;
    }
    const std::string own = all.root + *folder;
    const auto known = std::find_if(found.begin(), found.end(), [&own](const CgroupBranch& branch) {
      return branch.own == own;
    });
    if (known != found.end())
      known->controllers.push_back(controller);
    else
      found.push_back(CgroupBranch{.own = own,
                                   .folder = own + "/" + all.name,
                                   .controllers = {controller},
                                   .version = paths.v1.contains(controller) ? 1 : 2});
  }
  return found;
}

// Removes the leaves and then the folder; what has processes stays and is noted.
bool remove_tree(CgroupBranches& all, const std::string& folder) {
  bool empty = true;
  for (const std::string& leaf : folders_in(folder)) {
    const std::string path = folder + "/" + leaf;
    if (remove_folder(all.calls, path)) continue;
    all.left.push_back(path);
    empty = false;
  }
  if (empty && remove_folder(all.calls, folder)) return true;
  all.left.push_back(folder);
  return false;
}

bool is_dead(const CgroupBranches& all, const std::string& name) {
  const std::string_view rest = std::string_view(name).substr(kPrefix.size());
  pid_t pid = 0;
  const auto [end, code] = std::from_chars(rest.data(), rest.data() + rest.size(), pid);
  const bool whole = end == rest.data() + rest.size() || *end == '-';
  if (code != std::errc{} || !whole || pid <= 0) return false;  // somebody else's folder
  std::error_code unknown;
  return !fs::exists(fmt::format("{}/proc/{}", all.root, pid), unknown) && !unknown;
}

// A folder of our own name is a dead server's too, because ours is not made yet.
void remove_leftovers(CgroupBranches& all, const std::string& own) {
  for (const std::string& name : folders_in(own)) {
    if (!name.starts_with(kPrefix)) continue;
    const std::string folder = own + "/" + name;
    if (name != all.name && !is_dead(all, name)) continue;
    if (remove_tree(all, folder)) ++all.leftovers_removed;
    if (name == all.name) std::erase(all.left, folder);  // it is about to be ours
  }
}

bool make_folder(CgroupBranches& all, const CgroupBranch& branch) {
  const int error = all.calls.make_folder(branch.folder);
  if (error == 0 || error == EEXIST) return true;
  refuse(all, branch.controllers, cannot("make", branch.folder, error));
  return false;
}

std::string handed(const std::string& group) { return group + "/cgroup.subtree_control"; }

// Hands controllers down to a group's children, each by itself, because one that the kernel refuses
// must not take the others with it. Returns the first error.
int hand_down(const CgroupBranches& all, const std::string& group, const CgroupBranch& branch) {
  int first = 0;
  for (const std::string_view controller : branch.controllers) {
    if (contains(words_of(handed(group)), controller)) continue;
    const int error = all.calls.write_text(handed(group), fmt::format("+{}", controller));
    if (first == 0) first = error;
  }
  return first;
}

// Takes controllers that a list does not name off the branch.
void keep_only(CgroupBranches& all, CgroupBranch& branch, const Words& list,
               const std::string& why) {
  std::vector<std::string_view> missing;
  for (const std::string_view controller : branch.controllers)
    if (!contains(list, controller)) missing.push_back(controller);
  std::erase_if(branch.controllers,
                [&list](std::string_view controller) { return !contains(list, controller); });
  refuse(all, missing, why);
}

Words processes_in(const std::string& group) { return words_of(group + "/cgroup.procs"); }

int move_server_in(CgroupBranches& all, CgroupBranch& branch) {
  const std::string leaf = fmt::format("{}/{}", branch.folder, kServerLeaf);
  const int made = all.calls.make_folder(leaf);
  if (made != 0 && made != EEXIST) return made;
  const int error = all.calls.write_text(leaf + "/cgroup.procs", std::to_string(::getpid()));
  branch.server_moved = error == 0;
  if (branch.server_moved) all.server_folder = leaf;
  return error;
}

// A cgroup takes processes only while it hands nothing down. What was handed down here, this server
// did. Where the kernel refuses, the server ends in its folder, and the next one removes it.
void move_server_out(CgroupBranches& all, CgroupBranch& branch) {
  for (const std::string& group : {branch.folder, branch.own})
    for (const std::string& controller : words_of(handed(group)))
      all.calls.write_text(handed(group), "-" + controller);
  all.calls.write_text(branch.own + "/cgroup.procs", std::to_string(::getpid()));
  branch.server_moved = false;
  all.server_folder.clear();
}

void remove_branch(CgroupBranches& all, CgroupBranch& branch) {
  bool empty = true;
  for (const std::string& leaf : folders_in(branch.folder))
    if (leaf != kServerLeaf && !remove_folder(all.calls, branch.folder + "/" + leaf)) empty = false;
  if (!empty) return;  // what lives there keeps its limits
  if (branch.server_moved) move_server_out(all, branch);
  remove_folder(all.calls, fmt::format("{}/{}", branch.folder, kServerLeaf));
  remove_folder(all.calls, branch.folder);
}

// Makes the server's own group one that can hand controllers down; returns what hinders it. To be
// done before anything is written there: with processes inside, the kernel refuses "memory" but
// takes "cpu" and "pids", and turns the group into one whose children hold threads only. The root
// group, which has no cgroup.type, may have both.
std::string clear_own_group(CgroupBranches& all, CgroupBranch& branch) {
  const std::string type = read_text(branch.own + "/cgroup.type");
  const Words inside = processes_in(branch.own);
  if (type.empty()) return {};
  if (type != "domain\n")
    return fmt::format("{} is no plain domain but '{}'", branch.own,
                       type.substr(0, type.find('\n')));
  if (inside.empty()) return {};
  if (inside == Words{std::to_string(::getpid())}) {
    const int error = move_server_in(all, branch);
    return error == 0 ? "" : cannot("move the server below", branch.own, error);
  }
  return fmt::format(
      "{} processes share {}, and a cgroup with processes hands no controller down; start the "
      "server in a cgroup of its own (systemd: Delegate=yes)",
      inside.size(), branch.own);
}

// Version 2: the controllers come from above through the server's own cgroup and the tree's folder.
void hand_down_to_leaves(CgroupBranches& all, CgroupBranch& branch) {
  const std::string why = clear_own_group(all, branch);
  if (!why.empty()) return keep_only(all, branch, {}, why);
  for (const std::string& group : {branch.own, branch.folder})
    if (const int error = hand_down(all, group, branch); error != 0)
      keep_only(all, branch, words_of(handed(group)),
                cannot("hand this controller down in", group, error));
}

bool prepare(CgroupBranches& all, CgroupBranch& branch) {
  if (branch.version == 1) return make_folder(all, branch);
  keep_only(all, branch, words_of(branch.own + "/cgroup.controllers"),
            branch.own + " is not given this controller (systemd: Delegate=yes)");
  if (branch.controllers.empty() || !make_folder(all, branch)) return false;
  hand_down_to_leaves(all, branch);
  if (!branch.controllers.empty()) return true;
  remove_branch(all, branch);
  return false;
}

}  // namespace

CgroupCalls kernel_calls() {
  return CgroupCalls{
      .make_folder =
          [](const std::string& path) {
            return ::mkdir(path.c_str(), kFolderMode) == 0 ? 0 : errno;
          },
      .remove_folder =
          [](const std::string& path) { return ::rmdir(path.c_str()) == 0 ? 0 : errno; },
      .write_text =
          [](const std::string& path, std::string_view text) {
            const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
            return fd.valid() && ::write(fd.get(), text.data(), text.size()) >= 0 ? 0 : errno;
          }};
}

std::string branch_name(std::string_view tag) {
  return fmt::format("{}{}{}{}", kPrefix, ::getpid(), tag.empty() ? "" : "-", tag);
}

void open_branches(CgroupBranches& all) {
  for (CgroupBranch& branch : find_branches(all)) {
    remove_leftovers(all, branch.own);
    if (prepare(all, branch)) all.list.push_back(std::move(branch));
  }
}

void close_branches(CgroupBranches& all) {
  for (CgroupBranch& branch : all.list) remove_branch(all, branch);
  all.list.clear();
}

bool remove_folder(const CgroupCalls& calls, const std::string& path) {
  const int error = calls.remove_folder(path);
  return error == 0 || error == ENOENT;
}

std::string cannot(std::string_view what, const std::string& path, int error) {
  if (error == EACCES || error == EPERM || error == EROFS)
    return fmt::format("no permission to {} {} ({}); run as root or in a delegated cgroup", what,
                       path, std::strerror(error));
  return fmt::format("cannot {} {}: {}", what, path, std::strerror(error));
}

}  // namespace glowplug::runtime
