// Processes that outlive their server or their replica, and how they are found and ended.
//
// Every replica's folder holds a file `pid` (number and start time, so that a re-used number is not
// mistaken) and every replica's environment names its folder, so that a child which left the
// process group is found too.
//
// Thread: any; reads /proc. Not found: a process that left the group and also wiped its
// environment.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

#include "base/result.h"

namespace glowplug::runtime {

Result<void> write_pid_file(const std::string& folder, pid_t pid);

// Sends SIGKILL to every process whose environment says that it belongs to the replica in `folder`.
struct Killed {
  std::vector<pid_t> strays;
  bool all_known = true;  // false: one is just executing another program, look again
};
Killed kill_strays(std::string_view folder);

// The folder is there, is this user's and nobody else's to write: its name can be told in advance,
// and who owns it could swap sockets, or name processes for us to kill. Makes it where it is not.
Result<void> own_run_folder(const std::string& run_dir);

// Ends what a killed server left in its run folder and empties the folder. Only for whoever owns
// the data folder's lock: a second server on the same run folder would lose its replicas. Looks at
// no folder of another user. Returns the groups found.
int reap_leftovers(const std::string& run_dir);

}  // namespace glowplug::runtime
