// The folder of the server in each cgroup hierarchy: found, made, handed its controllers, removed.
//
// The part below CgroupTree (leaf_cgroup.h) that knows how versions 1 and 2 differ: where they are
// mounted, that version 2 hands controllers down only from a cgroup without processes, and whose
// folders are left from dead servers. A controller that cannot be had becomes a sentence in
// `refused`.
//
// Thread: one owner. Makes no leaf and sets no limit.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace glowplug::runtime {

// The calls that change the kernel's tree; each returns 0 or an errno. A test brings its own, which
// fill a new folder as the kernel does.
struct CgroupCalls {
  int (*make_folder)(const std::string& path);
  int (*remove_folder)(const std::string& path);
  int (*write_text)(const std::string& path, std::string_view text);
};
CgroupCalls kernel_calls();

struct CgroupBranch {
  std::string own;     // the server's own cgroup when it started
  std::string folder;  // below it, and the parent of the leaves
  std::vector<std::string_view> controllers;
  int version;
  bool server_moved = false;
};

struct CgroupBranches {
  std::string root;  // before every path, /proc too; empty outside tests
  std::string name;  // last part of every branch's folder
  CgroupCalls calls;

  std::vector<CgroupBranch> list;
  std::vector<std::string> refused;
  std::vector<std::string> left;  // folders that could not be removed yet, parents last
  std::string server_folder;      // where the server moved itself; empty when it stayed
  int leftovers_removed = 0;
};

inline constexpr std::string_view kServerLeaf = "server";

// "glowplug-<pid>", with "-<tag>" when there is one. A folder is a leftover once its pid is dead.
std::string branch_name(std::string_view tag);
void open_branches(CgroupBranches& branches);
void close_branches(CgroupBranches& branches);

// Whether the folder is gone now.
bool remove_folder(const CgroupCalls& calls, const std::string& path);
// A sentence: "no permission to make …", "cannot make …: No space left on device".
std::string cannot(std::string_view what, const std::string& path, int error);

}  // namespace glowplug::runtime
