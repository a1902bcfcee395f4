// A worker that was started ahead: it waits for the order that says what it is to be.
//
//   server ──{"start":true} + a file──▶ worker, which goes on as if executed with that
//
// The file is a JSON object: `argv`, without the program, and `env`, of NAME=value. Further
// descriptors are its cgroup's: it writes "0" to each.
//
// Thread: main, while no other thread exists.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace glowplug::worker {

// Sets the environment and enters the cgroup; the command line to go on with. Nothing when the
// server has gone, or says something else.
[[nodiscard]] std::optional<std::vector<std::string>> await_start(int control_fd, int lifeline_fd);

}  // namespace glowplug::worker
