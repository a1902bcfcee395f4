// The client commands, one file each (deploy.cc, run.cc, …). Each asks the server over HTTP, writes
// its answer and returns the exit code; command_line.cc parses what they are given.
//
// Thread: one command at a time.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json/value.hpp>

#include "cli/context.h"

namespace glowplug::cli {

struct DeployOptions {
  std::string source;
  std::string name;   // empty = taken from the source
  bool wait = false;  // also warms one replica
};
int deploy(const Context& context, const DeployOptions& options);

struct RunOptions {
  std::string name;
  std::string prompt;  // empty = from stdin, or a conversation on a terminal
  std::string system;
  int max_tokens = 0;  // 0 = the function's own limit
};
int run(const Context& context, const RunOptions& options);

struct InvokeOptions {
  std::string name;
  std::string event;   // a file, "-" = stdin, empty = an empty event
  bool async = false;  // as a job, whose id is the answer
};
int invoke(const Context& context, const InvokeOptions& options);

struct JobsOptions {
  std::vector<std::string> words;  // nothing, ID, or cancel, retry or rm and an ID
  std::string status, function;    // of a list; empty = all
  int limit = 20;
  bool wait = false;  // until the one that is named is over
};
int jobs(const Context& context, const JobsOptions& options);

struct DeadLettersOptions {
  std::vector<std::string> words;  // nothing, or redrive and the IDs; none = all
  int limit = 20;
};
int dead_letters(const Context& context, const DeadLettersOptions& options);

struct WarmOptions {
  std::string name;
  int count = 1;
  std::string duration = "5m";
};
int warm(const Context& context, const WarmOptions& options);

struct PreloadOptions {
  std::string name;
  std::string tier = "template";  // disk, memory, template or replica
  std::string duration = "5m";    // of a template or a replica
  bool wait = false;              // until it is there
};
int preload(const Context& context, const PreloadOptions& options);

struct TuneOptions {
  std::string name;
  bool apply = false;  // also makes a revision that says the choice
  bool force = false;  // also while calls are in flight
};
int tune(const Context& context, const TuneOptions& options);

struct CheckpointsOptions {
  std::string name;
  std::string action = "list";
  std::vector<std::string> words;  // what the action takes
};
int checkpoints(const Context& context, const CheckpointsOptions& options);

struct CostOptions {
  std::string gpu;  // a device of the server's price table
  std::int64_t requests_per_day = 0;
  Duration mean_time{};  // of a request
  int count = 1;         // devices that a request occupies
};
int estimate_cost(const Context& context, const CostOptions& options);

struct UsageOptions {
  std::string by = "function";  // of function, key and day, with commas
  Duration since = std::chrono::days(7);
  bool csv = false;
};
int usage(const Context& context, const UsageOptions& options);

int devices(const Context& context);

struct LogsOptions {
  std::string name;
  int tail = 0;  // 0 = all that the server keeps
};
int logs(const Context& context, const LogsOptions& options);

struct WhyOptions {
  std::string what;      // a call by its request id, or a function; empty = the decisions
  std::string function;  // whose decisions; empty = all
  int limit = 20;        // of decisions
};
int why(const Context& context, const WhyOptions& options);

struct DoctorOptions {
  std::string data_dir;
  std::string cache_dir;
  std::string worker_path;  // empty = beside this program
  std::string listen;
  std::string admin_listen;
};
int doctor(const Context& context, const DoctorOptions& options);

struct VersionOptions {
  std::string version;
  std::string engine_commit;
};
int version(const Context& context, const VersionOptions& options);

struct CacheOptions {
  std::string verb;   // pin, unpin, evict, verify; empty = show
  std::string model;  // a source, a function or the beginning of a digest; of verify empty = all
};
int cache(const Context& context, const CacheOptions& options);

struct WebhooksOptions {
  std::string verb = {};      // add, rm, rotate, enable, test, deliveries, replay; empty = list
  std::string what = {};      // a URL, an endpoint or a delivery, as the verb takes it
  std::string events = {};    // of add: types with commas between; empty = all
  std::string grace = "24h";  // of rotate: for how long the old secret signs too
  std::string status = {};    // of deliveries: those in this state; empty = all
  int limit = 20;             // of deliveries
};
int webhooks(const Context& context, const WebhooksOptions& options);
struct FilesOptions {
  std::string verb;  // upload, get, rm; empty = list
  std::string file;  // a path of upload, else an id
  std::string purpose = "batch";
};
int files(const Context& context, const FilesOptions& options);

struct BatchOptions {
  std::string file;
  std::string endpoint = "/v1/chat/completions";
  bool wait = false;  // until it is over
};
int batch(const Context& context, const BatchOptions& options);
int batches(const Context& context);

struct PsOptions {
  bool warm = false;  // only what is ready ahead of calls: in a template or nearer, or held
};
int ps(const Context& context, const PsOptions& options = {});
int top(const Context& context);
int models(const Context& context);
int rm(const Context& context, const std::string& name);
int stop(const Context& context, const std::string& name);

// What `why` shows of one call: a summary, its phases, and what was decided meanwhile.
std::string call_anatomy(const boost::json::value& call);

// What `why` shows of GET /v1/admin/usage/{request}.
std::string receipt_table(const boost::json::value& receipt);

// One bar for each day, of sums by day; empty where nothing was paid.
std::string cost_sparkline(const boost::json::value& by_day, const std::string& from,
                           const std::string& to);

// The table of `ps` and `top`.
std::string functions_table(const boost::json::array& functions);

// What `jobs` shows of GET /v1/jobs.
std::string jobs_table(const boost::json::array& jobs);

// What `devices` shows of GET /v1/admin/devices.
std::string devices_table(const boost::json::value& devices);

// What `cache` shows of GET /v1/admin/cache.
std::string cache_table(const boost::json::value& cache, WallTime now);

}  // namespace glowplug::cli
