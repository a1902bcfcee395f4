// What a simulated machine is and what things cost there: how long a start takes, how fast an
// engine reads and answers, what a process holds. The defaults are measured figures: SmolLM2-135M
// Q4_1 on 2 cores, docs/measurements.md, first table and "By size of model".
//
// Thread: values and pure functions.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/time_types.h"
#include "domain/device.h"
#include "domain/limits.h"
#include "domain/manifest.h"
#include "domain/model_facts.h"
#include "domain/price.h"

namespace glowplug::simulate {

using namespace std::chrono_literals;

inline constexpr std::uint64_t kMegabyte = 1'000'000;

// One machine, as `glowplug serve` would be told of it.
struct Machine {
  std::uint64_t memory_bytes = std::uint64_t{8} << 30;    // for replicas and templates
  std::uint64_t template_bytes = std::uint64_t{2} << 30;  // of it, for templates; 0 = none
  std::uint64_t page_cache_bytes = std::uint64_t{8} << 30;
  int spares = 1;
  int cores = 2;
  int scale_speed = 1;                       // of the autoscalers' clock
  std::string device = "CPU";                // whose price counts for this machine's own memory
  domain::Money budget_per_hour = {};        // of all replicas together; 0 = none
  std::vector<domain::Device> devices = {};  // accelerators beside it, each with cores of its own
  friend bool operator==(const Machine&, const Machine&) = default;
};

// A model file and the engine that runs it.
struct ModelProfile {
  std::string name = "smollm2-135m-q4_1";
  int share = 1;  // of the functions, beside the shares of the other profiles
  std::uint64_t file_bytes = 98 * kMegabyte;
  std::uint64_t weight_bytes = 98 * kMegabyte;
  std::uint64_t kv_bytes_per_token = 23'040;  // 29.5 MB for 1,278 tokens
  std::uint64_t vocabulary = 49'152;
  // What a process holds beside the weights and its context.
  std::uint64_t template_bytes = 21 * kMegabyte;  // 119 MB held at zero
  std::uint64_t forked_bytes = 26 * kMegabyte;    // a further replica after 100 requests
  std::uint64_t executed_bytes = 66 * kMegabyte;
  int threads = 2;                    // with which these were measured; 0 = it takes no cores
  double prefill_tokens_per_s = 195;  // 1,000 tokens in 5,120 ms
  Duration step = 2'200us;            // of decoding; 95.3 tokens/s with one stream
  Duration step_stream = 8'290us;     // more for each stream; 113.1 tokens/s with four
  Duration step_mixed = 165ms;        // while a prompt is read beside streams, p50 of the gaps
  std::optional<double> load_s_per_gb = {};  // none: as StartCosts says
  friend bool operator==(const ModelProfile&, const ModelProfile&) = default;
};

struct StartCosts {
  Duration exec = 115ms;        // 258 ms to ready with 98 MB, 6,594 ms with 4,526 MB
  double load_s_per_gb = 1.45;  // the same two; the file in the page cache
  int load_threads = 1;
  Duration fork = 4'600us;
  Duration hand_over = 500us;     // of a spare
  Duration first_call = 7'300us;  // more for the first call of a fork: 11.9 ms added in all
  Duration stop = 20ms, kill = 5ms;
  Duration sleep = 300ms, wake = 700ms;
  double jitter = 0.1;  // deviation of the logarithm of each of these
  friend bool operator==(const StartCosts&, const StartCosts&) = default;
};

struct Transfers {
  double read_mb_per_s = 1'035;  // from the disk, where the page cache has not the file
  double fetch_mb_per_s = 100;   // from the network; assumed, not measured
  double verify_mb_per_s = 400;  // its digest; assumed
  friend bool operator==(const Transfers&, const Transfers&) = default;
};

// How fast a type of device reads and answers, over the machine that a profile was measured on. The
// defaults are assumed, not measured: a sixth of what memory bandwidths would allow.
struct DeviceSpeed {
  std::string type;
  double factor = 1;
  friend bool operator==(const DeviceSpeed&, const DeviceSpeed&) = default;
};
std::vector<DeviceSpeed> default_speeds();

// Whether functions of one profile run the same file, and so may share a template.
enum class ModelFiles { OfEachFunction, Shared };

struct WorldModel {
  Machine machine;
  std::vector<ModelProfile> models = {ModelProfile{}};  // at least one
  ModelFiles files = ModelFiles::OfEachFunction;
  StartCosts starts;
  Transfers transfers;
  std::vector<DeviceSpeed> speeds = default_speeds();
  Duration gateway = 600us;   // of each call, besides the engine's time
  domain::Manifest function;  // of every function, but for its name and model
  // Of those that are told apart, by name; their `model` names a profile.
  std::map<std::string, domain::Manifest, std::less<>> functions = {};
  domain::PriceTable prices = domain::default_prices();
};

// Of a function in this world: the profile that it names, else one by its share, the same one for
// the same name.
const ModelProfile& profile_of(const WorldModel& model, const std::string& function);
// Where the CPU is has the price of `machine.device`.
domain::PriceTable prices_of(const WorldModel& model);
domain::Manifest manifest_of(const WorldModel& model, const std::string& function);
domain::ModelFacts facts_of(const WorldModel& model, const std::string& function);

double speed_of(const WorldModel& model, std::string_view device_type);  // 1 where nothing is said

// From exec to ready with all cores free, the file in the page cache, without jitter.
Duration load_time(const WorldModel& model, const ModelProfile& profile);

}  // namespace glowplug::simulate
