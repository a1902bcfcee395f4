// What `glowplug serve` runs with. Each setting comes from the command line, else from the
// environment where a variable for it exists, else from the file of --config, else it has its
// default; api/glowplug.example.yaml shows them all.
//
// Thread: used once, before the loop. Opens no port and makes no folder.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cli/command_line.h"
#include "domain/device.h"
#include "domain/limits.h"
#include "domain/price.h"
#include "models/target_rule.h"
#include "storage/ballast.h"

namespace glowplug::app {

// A process that holds a GPU cannot fork; what starts on one begins with its context.
#ifdef GLOWPLUG_CUDA
inline constexpr bool kOnGpu = true;
#else
inline constexpr bool kOnGpu = false;
#endif
inline constexpr int kStandbyDefault = kOnGpu ? 1 : 0;
inline constexpr std::string_view kNvmlDefault = "libnvidia-ml.so.1";  // found as any library is

struct ServerConfig {
  std::string listen = std::string(cli::kListenDefault);
  std::string admin_listen = std::string(cli::kAdminListenDefault);
  std::string data_dir;
  std::string cache_dir;
  std::string worker_path;  // empty = beside this program
  std::string log_level =
      std::string(cli::kLogLevelDefault);  // trace | debug | info | warn | error
  std::uint64_t memory_bytes = 0;          // 0 = decided from the machine
  int cores = 0;                           // the same
  int spares = 1;
  int standby = kStandbyDefault;  // workers started ahead
  int autoscaler_speed = 1;
  std::uint64_t prompt_cache_bytes = std::uint64_t{1} << 30;  // of prompts on disk; 0 = none
  std::uint64_t template_bytes = cli::kTemplateMemoryAuto;    // 0 = no templates
  std::uint64_t cache_budget_bytes = 0;                       // 0 = what the disk gives
  std::uint64_t decision_log_bytes = 0;                       // of all of its files; 0 = none
  Duration cache_scrub = cli::kCacheScrubDefault;
  bool allow_process_engines = false;
  bool allow_private_sources = false;
  std::string hub_url = "https://huggingface.co";
  std::string hub_token;      // never shown
  std::string pip_index_url;  // empty = pip's configuration, else the public index
  domain::PriceTable prices = domain::default_prices();
  domain::Money budget_per_hour = {};                  // of all replicas together; 0 = none
  std::optional<std::vector<domain::Device>> devices;  // none: those that are found
  models::TargetRule webhooks = {};                    // where they may go
  std::uint64_t files_budget_bytes = domain::kFilesBudget;
  std::uint64_t ballast_bytes = storage::kBallastBytes;  // kept back of the state file's disk
  int batch_lines = static_cast<int>(domain::kBatchLinesMax);
  std::string nvml = std::string(kNvmlDefault);  // the library's file; empty = not asked
};

// What a file says; a setting that it does not name is absent. Paths are absolute.
struct FileSettings {
  std::optional<std::string> listen, admin_listen, data_dir, cache_dir, worker, log_level, hub_url,
      pip_index_url;
  std::optional<std::string> hub_token;  // what hub_token_file holds
  std::optional<std::uint64_t> memory_bytes, template_bytes, prompt_cache_bytes;
  std::optional<std::uint64_t> cache_budget_bytes, decision_log_bytes, files_budget_bytes,
      ballast_bytes;
  std::optional<Duration> cache_scrub;
  std::optional<int> cores, spares, standby, autoscaler_speed, batch_lines;
  std::optional<bool> allow_process_engines, allow_private_sources;
  std::optional<domain::PriceTable> prices;  // with the rows of the default that it leaves alone
  std::optional<domain::Money> budget_per_hour;
  std::optional<std::vector<domain::Device>> devices;
  std::optional<models::TargetRule> webhooks;
  std::optional<std::string> nvml;
};

const std::vector<std::string_view>& config_keys();

// All faults at once, one a line, each with its key. A relative path means one below `folder`, so
// that a file means the same wherever the server is started. Reads the file of the token.
Result<FileSettings> read_settings(std::string_view text, const std::string& folder);

using Environment = std::function<std::string(const char* name)>;  // empty when unset

// Reads the file that the options name; the error's message names it.
Result<ServerConfig> server_config(const cli::ServeOptions& options,
                                   const Environment& environment);

}  // namespace glowplug::app
