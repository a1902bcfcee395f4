// A kernel of plain files, for tests of the cgroup tree: what a new group shows, and what the
// kernel refuses, on machines of version 1 and 2.
//
// Seen on Linux 6.1: with processes inside, a group of version 2 refuses to hand "memory"
// down, but takes "cpu" and "pids", and its children then take no process at all.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <string_view>
#include <unistd.h>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/read_file.h"
#include "runtime/leaf_cgroup.h"

namespace glowplug::runtime {

namespace fs = std::filesystem;

using Words = std::vector<std::string>;

inline std::string text_of(const fs::path& path) { return read_text(path.string()); }

inline void put(const fs::path& path, std::string_view text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

inline Words words_of(const fs::path& path) {
  std::istringstream in(text_of(path));
  return Words(std::istream_iterator<std::string>(in), {});
}

inline void put_words(const fs::path& path, const Words& words) {
  put(path, fmt::format("{}", fmt::join(words, "\n")));
}

inline void show_controllers(const fs::path& group) {
  const Words given = words_of(group.parent_path() / "cgroup.subtree_control");
  put_words(group / "cgroup.controllers", given);
  for (const std::string& controller : given) {
    Words files{"pids.max"};
    if (controller == "cpu") files = {"cpu.max"};
    if (controller == "memory")
      files = {"memory.max", "memory.swap.max", "memory.oom.group", "memory.current",
               "memory.events"};
    for (const std::string& file : files)
      if (!fs::exists(group / file)) put(group / file, "");
  }
}

inline bool is_threaded(const fs::path& group) {
  return text_of(group / "cgroup.type").find("threaded") != std::string::npos;
}

inline int fake_make(const std::string& path) {
  const fs::path group(path), parent = group.parent_path();
  if (fs::exists(parent / "locked")) return EROFS;
  if (fs::exists(group)) return EEXIST;
  if (!fs::create_directory(group)) return ENOENT;
  if (fs::exists(parent / "cgroup.controllers")) {
    for (const char* file : {"cgroup.procs", "cgroup.subtree_control"}) put(group / file, "");
    put(group / "cgroup.type", is_threaded(parent) ? "domain invalid\n" : "domain\n");
    show_controllers(group);
    return 0;
  }
  for (const fs::directory_entry& entry : fs::directory_iterator(parent))
    if (entry.is_regular_file()) put(group / entry.path().filename(), "");
  return 0;
}

inline Words folders_in(const fs::path& group) {
  Words names;
  for (const fs::directory_entry& entry : fs::directory_iterator(group))
    if (entry.is_directory()) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

inline int fake_remove(const std::string& path) {
  if (!fs::exists(path)) return ENOENT;
  if (!text_of(path + "/cgroup.procs").empty() || !folders_in(path).empty()) return EBUSY;
  fs::remove_all(path);
  return 0;
}

inline bool is_busy(const fs::path& group) {
  return fs::exists(group / "cgroup.type") && !text_of(group / "cgroup.procs").empty();
}

inline int fake_subtree_control(const fs::path& group, std::string_view text) {
  const std::string name(text.substr(1));
  const Words given = words_of(group / "cgroup.controllers");
  if (std::find(given.begin(), given.end(), name) == given.end()) return ENOENT;
  if (is_busy(group) && name == "memory") return EBUSY;
  if (is_busy(group)) put(group / "cgroup.type", "domain threaded\n");
  Words handed = words_of(group / "cgroup.subtree_control");
  std::erase(handed, name);
  if (text[0] == '+') handed.push_back(name);
  for (const std::string& child : folders_in(group)) {
    const Words needed = words_of(group / child / "cgroup.subtree_control");
    if (text[0] == '-' && std::find(needed.begin(), needed.end(), name) != needed.end())
      return EBUSY;
  }
  put_words(group / "cgroup.subtree_control", handed);
  for (const std::string& child : folders_in(group)) show_controllers(group / child);
  return 0;
}

inline int fake_move(const fs::path& group, const std::string& pid) {
  if (fs::exists(group / "cgroup.type") && !text_of(group / "cgroup.subtree_control").empty())
    return EBUSY;
  if (text_of(group / "cgroup.type") == "domain invalid\n") return EOPNOTSUPP;
  fs::path top = group;
  while (fs::exists(top.parent_path() / "cgroup.procs")) top = top.parent_path();
  Words everywhere{(top / "cgroup.procs").string()};
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(top))
    if (entry.is_directory()) everywhere.push_back((entry.path() / "cgroup.procs").string());
  for (const std::string& file : everywhere) {
    Words pids = words_of(file);
    if (std::erase(pids, pid) > 0) put_words(file, pids);
  }
  Words pids = words_of(group / "cgroup.procs");
  pids.push_back(pid);
  put_words(group / "cgroup.procs", pids);
  return 0;
}

inline int fake_write(const std::string& path, std::string_view text) {
  const fs::path file(path);
  if (!fs::exists(file)) return ENOENT;
  if (fs::exists(file.parent_path().parent_path().parent_path() /
                 ("refuse." + file.filename().string())))
    return EINVAL;
  if (file.filename() == "cgroup.subtree_control")
    return fake_subtree_control(file.parent_path(), text);
  if (file.filename() == "cgroup.procs") return fake_move(file.parent_path(), std::string(text));
  put(file, text);
  return 0;
}

class LeafCgroup : public ::testing::Test {
 protected:
  LeafCgroup() {
    char name[] = "/tmp/gp-cgroup-XXXXXX";
    root_ = ::mkdtemp(name);
    put(root_ / "proc" / self_ / "stat", "");
  }
  ~LeafCgroup() override { fs::remove_all(root_); }

  static constexpr const char* kMount = "31 23 0:28 {} {} rw,relatime shared:9 - {} cgroup rw,{}\n";

  void v1_group(const std::string& folder, const Words& files) {
    for (const std::string& file : files) put(root_ / folder / file, "");
    for (const char* file : {"cgroup.procs", "tasks"}) put(root_ / folder / file, "");
  }

  void v1_machine() {
    put(root_ / "proc/self/cgroup",
        "4:memory:/srv\n3:pids:/\n2:cpu,cpuacct:/\n1:name=systemd:/\n0::/\n");
    put(root_ / "proc/self/mountinfo",
        fmt::format(kMount, "/", "/cg", "tmpfs", "memory") +
            fmt::format(kMount, "/", "/cg/unified", "cgroup2", "nsdelegate") +
            fmt::format(kMount, "/", "/cg/systemd", "cgroup", "name=systemd") +
            fmt::format(kMount, "/", "/cg/memory", "cgroup", "memory") +
            fmt::format(kMount, "/", "/cg/cpu,cpuacct", "cgroup", "cpu,cpuacct") +
            fmt::format(kMount, "/", "/cg/pids", "cgroup", "pids"));
    v1_group(memory_, {"memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.swappiness",
                       "memory.usage_in_bytes", "memory.oom_control"});
    v1_group(cpu_, {"cpu.cfs_quota_us", "cpu.cfs_period_us"});
    v1_group(pids_, {"pids.max"});
  }

  void v2_machine(const std::string& processes,
                  const std::string& controllers = "memory\ncpu\npids") {
    put(root_ / "proc/self/cgroup", "0::/unit\n");
    put(root_ / "proc/self/mountinfo", fmt::format(kMount, "/", "/cg", "cgroup2", "nsdelegate"));
    put(unit() / "cgroup.controllers", controllers);
    put(unit() / "cgroup.procs", processes);
    put(unit() / "cgroup.subtree_control", "");
    put(unit() / "cgroup.type", "domain\n");
  }

  CgroupTree open() {
    return CgroupTree::open(
        {.root = root_.string(), .calls = {fake_make, fake_remove, fake_write}});
  }

  fs::path unit() const { return root_ / "cg/unit"; }
  std::string in(const std::string& own, const std::string& file) const {
    return text_of(root_ / own / ours_ / file);
  }

  const std::string self_ = std::to_string(::getpid());
  const std::string ours_ = "glowplug-" + self_;
  const std::string memory_ = "cg/memory/srv", cpu_ = "cg/cpu,cpuacct", pids_ = "cg/pids";
  fs::path root_;
};

}  // namespace glowplug::runtime
