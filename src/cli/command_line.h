// The command line: parses it, runs the client commands against a server, and hands `serve` to
// whoever can.
//
// The client speaks HTTP only and knows no server code, so main() passes what serves, and what
// simulates, as hooks.
// Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 server unreachable, 5 refused.
//
// Thread: called once, on the main thread, before any other thread starts.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/time_types.h"
#include "cli/console.h"
#include "cli/simulate_options.h"
#include "domain/price.h"

namespace glowplug::cli {

inline constexpr std::string_view kListenDefault = "127.0.0.1:4569";
inline constexpr std::string_view kAdminListenDefault = "127.0.0.1:4570";
inline constexpr std::string_view kLogLevelDefault = "info";

inline constexpr std::uint64_t kTemplateMemoryAuto = ~std::uint64_t{0};
inline constexpr Duration kCacheScrubDefault = std::chrono::hours(24);

// What the command line says, and nothing else: what is absent here may come from the environment
// or from the file (app/server_config).
struct ServeOptions {
  std::string config_file;  // empty = none
  std::optional<std::string> listen, admin_listen, data_dir, cache_dir, worker_path, log_level;
  std::optional<std::uint64_t> memory_bytes;  // 0 = decided from the machine
  std::optional<int> cores;
  std::optional<int> spares;
  std::optional<int> standby;
  std::optional<std::uint64_t> prompt_cache_bytes;
  std::optional<std::uint64_t> template_bytes;      // kTemplateMemoryAuto = a share of the memory
  std::optional<std::uint64_t> cache_budget_bytes;  // 0 = what the disk gives
  std::optional<Duration> cache_scrub;              // 0 = only when asked
  std::optional<domain::Money> budget_per_hour;     // 0 = none
  std::optional<bool> allow_process_engines, allow_private_sources;
};

struct ServeHooks {
  std::function<int(const ServeOptions&)> serve;  // returns the exit code
  std::function<int(const SimulateOptions&, const Console&)> simulate, plan;
  std::string version;
  std::string engine_commit;
};

int run_client(int argc, char** argv, const ServeHooks& hooks);

}  // namespace glowplug::cli
