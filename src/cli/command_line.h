// The command line: parses it, runs the client commands against a server, and hands `serve` to
// whoever can.
//
// The client speaks HTTP only and knows no server code, so main() passes what serves as a hook.
// Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 server unreachable, 5 refused.
//
// Thread: called once, on the main thread, before any other thread starts.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace glowplug::cli {

struct ServeOptions {
  std::string listen = "127.0.0.1:4569";
  std::string admin_listen = "127.0.0.1:4570";
  std::string data_dir;   // never empty once parsed: option, environment or the default below HOME
  std::string cache_dir;  // likewise
  std::string worker_path;         // empty = beside this program
  std::string log_level = "info";  // trace | debug | info | warn | error
  std::uint64_t memory_bytes = 0;  // 0 = decided from the machine
  bool allow_process_engines = false;
  bool allow_private_sources = false;
  bool json = false;  // --json: messages on stdout as JSON lines
};

struct ServeHooks {
  std::function<int(const ServeOptions&)> serve;  // returns the exit code
  std::string version;
  std::string engine_commit;
};

int run_client(int argc, char** argv, const ServeHooks& hooks);

}  // namespace glowplug::cli
