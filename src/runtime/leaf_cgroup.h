// A cgroup of its own for each replica: its limits on memory, CPU and processes hold whatever the
// engine does, and its counters say whether a death was the kernel's answer to them.
//
// A CgroupTree makes a folder glowplug-<pid> below the server's own cgroup, on version 1 once for
// each controller, and removes what dead servers left there; a Leaf is one folder in it. What the
// machine refuses is told in words and never fatal: a leaf without any folder limits nothing.
//
// Thread: one owner for a tree and its leaves; a Leaf's const functions may run on any thread.
// Kills nothing, waits for nothing, and moves nobody unasked but the server (server_folder()).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

#include "base/result.h"
#include "base/unique_fd.h"
#include "runtime/cgroup_branch.h"

namespace glowplug::runtime {

// What is not given is not limited.
//
// Memory: a page is charged to the leaf whose process touches it first, and pages of files count as
// the process's own do. So the limit is private bytes + bytes of the model file, even where the
// file is mapped. With less, the kernel drops pages of the file and reads them again (slow, though
// nobody dies), and locked pages cannot be dropped (somebody dies). The second replica of one file
// is charged nothing for what the first one holds, but needs the room too: it pays as soon as the
// first leaf is gone and the pages are read again. A replica forked from a template leaves the
// pages that it shares charged to the template's leaf; its own limit counts what it writes and
// reads from then on. Swap is not used.
struct LeafLimits {
  std::optional<std::uint64_t> memory_bytes = {};
  std::optional<double> cpu_cores = {};
  std::optional<std::uint64_t> pids = {};  // threads count
};

struct CgroupOptions {
  std::string root = {};  // before every path, /proc too; empty outside tests
  std::string tag = {};   // tells several trees of one process apart: glowplug-<pid>-<tag>
  CgroupCalls calls = kernel_calls();
};

struct CgroupTreeState;

class Leaf final {
 public:
  Leaf(Leaf&& other) noexcept;
  Leaf& operator=(Leaf&& other) noexcept;
  ~Leaf();  // tries to remove the folders once; the tree keeps the names of those that stay

  // Three ways in, the best first. A process and what it starts later stay in the leaf.
  //
  // For CLONE_INTO_CGROUP: the child is born in the leaf. -1 where any controller is of version 1.
  int fd() const { return fd_.get(); }
  // For a child of one thread before it executes (vfork too): moves the caller itself, by system
  // calls on descriptors that close on exec. On version 1 a lone thread that moves itself takes no
  // lock of the whole machine; on version 2 this costs what add() does. Returns 0 or the first
  // errno.
  int enter() const noexcept;
  // Moves another process, all threads. After some quiet the first write waits until every CPU has
  // passed by. Pages already charged stay where they are.
  //
  // Three controllers of version 1, 400 ms of quiet before each (Linux 6.18, 2 CPUs): enter() 0.1
  // to 4 ms, median 0.14; add() 5 to 31 ms, median 7 to 15, all in the first controller written,
  // whichever it is.
  Result<void> add(pid_t pid) const;
  // What enter() writes "0" to, one for each folder: for the child of another process, which is
  // handed them and moves itself. The kernel asks for the rights of whoever opened them.
  std::vector<int> entries() const;

  // Idle: its processes run while no other cgroup wants the core (Linux 5.15; an older kernel gives
  // it the smallest weight). A scheduling class of its own would count inside the leaf only. Where
  // the machine refuses it, nothing changes.
  enum class CpuShare { Idle, Equal };
  void share_cpu(CpuShare share) const;

  // How often the kernel killed in the leaf for want of memory, the leaf's or the whole machine's.
  // On version 1 it kills one process each time, on version 2 all of the leaf. Nothing when that
  // cannot be known. To be read before try_remove().
  std::optional<std::uint64_t> oom_kills() const;
  // Whether the leaf has ever come up to its own limit. When it has not, oom_kills() are the work
  // of a limit above, or of the whole machine's end.
  bool met_memory_limit() const;
  // The most bytes that were ever charged, pages of files included; nothing where the machine does
  // not say (version 2 before Linux 5.19).
  std::optional<std::uint64_t> peak() const;

  // Whether all folders are gone. The kernel refuses while a process lives inside and for some
  // milliseconds after its end; whoever owns the leaf tries again, or leaves it to the tree.
  bool try_remove();

  const std::vector<std::string>& refused() const { return refused_; }  // limits not in force
  const LeafLimits& in_force() const { return in_force_; }
  // The controllers whose limits are in force and hold this process, as the kernel sees it now:
  // "memory,cpu,pids"; empty when none does.
  std::string layers_on(pid_t pid) const;

 private:
  friend class CgroupTree;
  struct Folder {
    std::string path;
    std::vector<std::string_view> controllers;
    int version;
    UniqueFd entry;  // written to by whoever enters
  };

  explicit Leaf(CgroupTreeState& tree);
  void limit(const Folder& folder, const LeafLimits& limits);
  bool limit_memory(const Folder& folder, std::uint64_t bytes);  // these say: in force
  bool limit_cpu(const Folder& folder, double cores);
  enum class Presence { Required, Optional };
  bool write(const Folder& folder, std::string_view file, std::string_view text,
             Presence presence = Presence::Required);
  std::optional<std::string> read_memory_file(std::string_view v1, std::string_view v2) const;
  void give_up();

  CgroupTreeState* tree_;  // outlives every leaf; null once moved from
  std::vector<Folder> folders_;
  UniqueFd fd_;
  std::vector<std::string> refused_;
  LeafLimits in_force_;
};

class CgroupTree final {
 public:
  // To be called before the server starts a child: on version 2 a cgroup with processes cannot hand
  // controllers down, so the server, when it is alone in its own, moves into a folder `server` of
  // the tree, and back at the end.
  static CgroupTree open(const CgroupOptions& options);
  CgroupTree(CgroupTree&&) noexcept;
  CgroupTree& operator=(CgroupTree&&) = delete;
  ~CgroupTree();  // removes the folders; what still has processes stays for a later server

  // The name is one word of ours, without '/', and not "server". Refused only while processes of an
  // earlier leaf of that name are still inside.
  Result<Leaf> make_leaf(std::string_view name, const LeafLimits& limits);

  // Tries the folders of destroyed leaves and of dead servers again; returns how many remain.
  std::size_t remove_left();

  const std::vector<std::string>& refused() const;  // one sentence for each controller not held
  std::string layers() const;                       // "memory,cpu,pids (v1)", or "none"
  const std::string& server_folder() const;         // where the server moved itself; often empty
  int leftovers_removed() const;                    // folders of dead servers
  std::vector<std::string> folders() const;         // where the leaves are made, for a log line

 private:
  explicit CgroupTree(std::unique_ptr<CgroupTreeState> state);
  std::unique_ptr<CgroupTreeState> state_;
};

}  // namespace glowplug::runtime
