// The walls around a replica: it has read a stranger's model file, reads strangers' prompts, and
// has no reason to reach the network, another process or any file but its own.
//
//   enter_namespaces()  first in main; in a template, whose forks inherit it
//   confine_files()     in each replica right after its fork: Landlock, and no capabilities
//   lock_down()         when the socket listens, right before ready: seccomp
//
// Thread: the first two bind the calling thread and those it starts, so it must be the process's
// only one (confine_files() refuses otherwise); lock_down() binds all. Nothing can be undone.
// Throws nothing of its own: what the machine refuses is reported, the rest applies. Knows no GPU.
#pragma once

#include <string>
#include <vector>

namespace glowplug::worker {

// What is in force. A value that each step takes and gives back with its own part filled in.
struct SandboxReport {
  bool network_namespace = false;
  int landlock_abi = 0;  // the version that the kernel speaks; 0 when files are not confined
  bool seccomp = false;
  bool capabilities_dropped = false;
  std::vector<std::string> refused;  // one sentence for each thing that could not be had

  // "netns,landlock7,seccomp,nocaps", as far as in force; "none" when nothing is.
  [[nodiscard]] std::string words() const;

  // Tells what was refused, one line each, on stderr, where the function's log comes from.
  void print_refused() const;

  friend bool operator==(const SandboxReport&, const SandboxReport&) = default;
};

struct FileAccess {
  std::vector<std::string> readable_files;  // the model, its chat template
  std::string own_folder;                   // sockets are made and removed here
};

// What a replica with this socket and model needs.
[[nodiscard]] FileAccess access_of(const std::string& socket_path, const std::string& model_path);

// A network namespace without any interface, and new ones for System V IPC and the host's name.
// Without privileges it takes a user namespace that knows the caller's own user and group only.
// Unix sockets in the file system work across the border, abstract ones do not.
[[nodiscard]] SandboxReport enter_namespaces();

// Reads the local time zone before its file is out of reach. Root has no more rights than the owner
// of a file afterwards, and a file opened before stays open.
[[nodiscard]] SandboxReport confine_files(const FileAccess& files, SandboxReport so_far);

// From here on the process can serve the sockets it has, start threads, open what confine_files()
// left it and the memory files it was given, and end. syscall_filter.h has the rules.
[[nodiscard]] SandboxReport lock_down(SandboxReport so_far);

}  // namespace glowplug::worker
