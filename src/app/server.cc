#include "app/server.h"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <functional>
#include <memory>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <fmt/format.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include "app/decision_recorder.h"
#include "app/device_fleet.h"
#include "app/live_cache.h"
#include "app/live_platform.h"
#include "app/live_queue.h"
#include "app/live_usage.h"
#include "app/on_loop.h"
#include "app/resident_list.h"
#include "app/server_config.h"
#include "base/read_file.h"
#include "base/units.h"
#include "domain/limits.h"
#include "gateway/call_counts.h"
#include "gateway/gateway.h"
#include "models/catalogue.h"
#include "models/manifest_reader.h"
#include "models/prompt_store.h"
#include "runtime/device_probe.h"
#include "runtime/launch_plan.h"
#include "storage/ballast.h"
#include "storage/read_loop.h"
#include "storage/state_file.h"
#include "storage/write_loop.h"

namespace glowplug::app {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

// Between /readyz turning 503 and the listeners closing, so that load balancers look away first.
constexpr Duration kReadyzLead = 100ms;
constexpr Duration kDrainLook = 20ms;
constexpr std::uint64_t kTemplateShare =
    4;  // of this machine's memory, for idle templates: one part in four
// What replicas may reserve of this machine's memory when --memory does not say.
constexpr double kMemoryShare = 0.8;

std::string env(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

std::string first_of(const std::string& a, const std::string& b) { return a.empty() ? b : a; }

std::string folder_of_this_program() {
  return fs::read_symlink("/proc/self/exe").parent_path().string();
}

// Socket paths may have 107 bytes, so the folder is short; one per data folder, so that a restarted
// server finds what a killed one left.
std::string run_folder(const std::string& data_dir) {
  const std::string base = first_of(env("XDG_RUNTIME_DIR"), "/tmp");
  return fmt::format(
      "{}/glowplug-{}-{:08x}", base, ::getuid(),
      std::hash<std::string>{}(fs::weakly_canonical(data_dir).string()) & 0xffffffffU);
}

// Running a command of the caller's choice, or fetching from inside the network, is fine for one's
// own machine and nobody else's.
bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

constexpr rlim_t kDescriptorsMax = 1 << 20;  // some programs that we start look at each of them

// A call takes two descriptors, a replica five: all that the machine allows, not the shell's few.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = std::max(limit.rlim_cur, std::min(limit.rlim_max, kDescriptorsMax));
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

void set_up_process() {
  spdlog::set_default_logger(spdlog::stderr_logger_mt("glowplug"));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e %l %v");
  std::signal(SIGPIPE, SIG_IGN);
  raise_descriptor_limit();
}

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

int cannot_start(const Error& error, int exit_code = kExitFailed) {
  std::fprintf(stderr, "glowplug: %s\n", error.message.c_str());
  return exit_code;
}

models::ModelStoreOptions store_options(const ServerConfig& config,
                                        const gateway::ListenAddress& listen,
                                        const gateway::ListenAddress& admin) {
  return {.cache_dir = config.cache_dir,
          .hub_url = config.hub_url,
          .hub_token = config.hub_token,
          .pip_index_url = config.pip_index_url,
          .private_sources_allowed =
              config.allow_private_sources || (is_loopback(listen.host) && is_loopback(admin.host)),
          .cache_budget_bytes = config.cache_budget_bytes};
}

// SIGTERM and SIGINT: not ready, then no new connections, then wait for answers under way, then
// leave. A second signal leaves at once.
class Shutdown final {
 public:
  Shutdown(boost::asio::io_context& loop, const Clock& clock, LivePlatform& platform,
           queue::JobService& jobs, gateway::Gateway& gateway)
      : loop_(loop),
        clock_(clock),
        platform_(platform),
        jobs_(jobs),
        gateway_(gateway),
        signals_(loop, SIGTERM, SIGINT),
        timer_(loop) {
    wait_for_signal();
  }

 private:
  void wait_for_signal() {
    signals_.async_wait([this](const boost::system::error_code& error, int) {
      if (error) return;
      if (began_) return leave();
      began_ = clock_.now();
      spdlog::info("draining: {} requests under way", gateway_.in_flight());
      platform_.begin_drain();
      jobs_.drain();
      timer_.expires_after(kReadyzLead);
      timer_.async_wait([this](const boost::system::error_code&) {
        gateway_.stop_accepting();
        look();
      });
      wait_for_signal();
    });
  }

  void look() {
    const bool done = gateway_.in_flight() == 0 && platform_.drained();
    if (done || clock_.now() - *began_ >= domain::kDrainTimeout) return leave();
    timer_.expires_after(kDrainLook);
    timer_.async_wait([this](const boost::system::error_code& error) {
      if (!error) look();
    });
  }

  void leave() {
    say_calls();
    platform_.kill_all();
    loop_.stop();
  }

  // Nobody can ask for the metrics any more.
  void say_calls() const {
    using gateway::CallFate;
    const gateway::CallCounts& calls = gateway_.calls();
    spdlog::info(
        "calls: {} arrived = {} answered + {} refused + {} broken + {} cancelled + {} cut off",
        calls.arrived_count(), calls.ended_count(CallFate::Answered),
        calls.ended_count(CallFate::Refused), calls.ended_count(CallFate::Broken),
        calls.ended_count(CallFate::Cancelled), calls.open_count());
  }

  boost::asio::io_context& loop_;
  const Clock& clock_;
  LivePlatform& platform_;
  queue::JobService& jobs_;
  gateway::Gateway& gateway_;
  boost::asio::signal_set signals_;
  boost::asio::steady_timer timer_;
  std::optional<Time> began_;
};

gateway::GatewayOptions gateway_options(const ServerConfig& config,
                                        const gateway::ListenAddress& listen,
                                        const gateway::ListenAddress& admin,
                                        const std::string& version,
                                        const std::string& engine_commit,
                                        const std::string& templates_dir) {
  return {.listen = listen,
          .admin_listen = admin,
          .process_engines_allowed = config.allow_process_engines || is_loopback(listen.host),
          .version = version,
          .engine_commit = engine_commit,
          .read_manifest = [templates_dir](std::string_view text,
                                           std::string_view name) -> Result<domain::Manifest> {
            Result<domain::Manifest> manifest = models::read_manifest(text, name);
            if (!manifest) return manifest;
            if (auto usable = runtime::check_chat_template(*manifest, templates_dir); !usable)
              return usable.error();
            return manifest;
          },
          .in_catalogue =
              [](std::string_view name) { return models::find_in_catalogue(name) != nullptr; },
          .prices = config.prices};
}

// What engine makes prompt states: one of a CPU has laid them out another way.
std::string engine_build(const std::string& version, const std::string& commit) {
  return fmt::format("{} llama.cpp {} {}", version, commit, kOnGpu ? "cuda" : "cpu");
}

// A process that holds a GPU cannot fork its model to a child.
std::uint64_t template_memory(const ServerConfig& config, const runtime::Machine& machine,
                              std::uint64_t memory) {
  if (kOnGpu) return 0;
  return config.template_bytes == cli::kTemplateMemoryAuto
             ? std::min(memory, machine.memory_bytes / kTemplateShare)
             : config.template_bytes;
}

// Null when no prompt is to outlive its replica.
Result<std::unique_ptr<models::PromptStore>> open_prompts(const ServerConfig& config,
                                                          std::uint64_t machine_bytes) {
  if (config.prompt_cache_bytes == 0) return std::unique_ptr<models::PromptStore>();
  const auto unix_seconds = [] { return static_cast<std::int64_t>(std::time(nullptr)); };
  return models::PromptStore::open(
      {.folder = config.data_dir + "/prompts",
       .budget_bytes = config.prompt_cache_bytes,
       .memory_bytes =
           std::min(domain::kPromptMemoryMax, machine_bytes / domain::kPromptMemoryShare),
       .ttl = domain::kPromptStateTtl,
       .master_key_file = {},
       .on_damage =
           [](std::uint64_t id, const std::string& why) {
             spdlog::warn("prompt={:016x} is damaged and removed: {}", id, why);
           }},
      unix_seconds);
}

// Null when nothing is recorded. A server whose log cannot be written serves all the same.
std::unique_ptr<DecisionRecorder> open_recorder(const ServerConfig& config, const Clock& clock,
                                                const std::string& version,
                                                const control::BrainOptions& brain) {
  if (config.decision_log_bytes == 0) return nullptr;
  auto recorder = DecisionRecorder::open({.folder = config.data_dir + "/decisions",
                                          .bytes_max = config.decision_log_bytes,
                                          .now = clock.wall_now(),
                                          .build = "glowplug " + version},
                                         brain);
  if (recorder) {
    spdlog::info("decisions are recorded: {}", (*recorder)->path());
    return std::move(recorder).value();
  }
  spdlog::warn("decisions are not recorded: {}", recorder.error().message);
  return nullptr;
}

std::uint64_t replica_memory(const ServerConfig& config, const runtime::Machine& machine) {
  if (config.memory_bytes) return config.memory_bytes;
  return static_cast<std::uint64_t>(kMemoryShare * static_cast<double>(machine.memory_bytes));
}

control::BrainOptions brain_options(const ServerConfig& config, const runtime::Machine& machine) {
  const std::uint64_t memory = replica_memory(config, machine);
  return {.memory_bytes = memory,
          .template_bytes = template_memory(config, machine, memory),
          .spares = config.spares,
          .cores = config.cores ? config.cores : machine.cores,
          .scale_speed = config.autoscaler_speed,
          .accelerators = accelerators(config),
          .engine_on_gpu = kOnGpu,
          .prices = config.prices,
          .budget_per_hour = config.budget_per_hour};
}

// Without its state file a server ends rather than accept what it cannot keep.
void end_without_state(boost::asio::io_context& loop, int& exit_code, const Error& why) {
  spdlog::critical("the state file is lost, the server ends: {}", why.message);
  exit_code = kExitFailed;
  loop.stop();
}

// What is written is heard of on the loop.
storage::WriteLoop::Parts writer_parts(storage::StateFile file, boost::asio::io_context& loop,
                                       const Clock& clock, const ServerConfig& config,
                                       int& exit_code) {
  return {.file = std::move(file),
          .deliver =
              [&loop](std::vector<std::function<void()>> calls) {
                boost::asio::post(loop, [calls = std::move(calls)] {
                  for (const auto& call : calls) call();
                });
              },
          .halted =
              [&loop, &exit_code](const Error& why) {
                boost::asio::post(
                    loop, [&loop, &exit_code, why] { end_without_state(loop, exit_code, why); });
              },
          .warn = [](const std::string& what) { spdlog::warn("{}", what); },
          .options = {.ballast_bytes = config.ballast_bytes, .clock = &clock}};
}

// The state file's writer, and beside it the check of a file that was too large to be looked
// through at opening.
struct StateKeeper {
  StateKeeper(storage::StateFile file, boost::asio::io_context& loop, const Clock& clock,
              const ServerConfig& config, int& exit_code)
      : checked(file.checked),
        writer(writer_parts(std::move(file), loop, clock, config, exit_code)) {
    if (!checked) begin_check(loop, exit_code);
  }
  void begin_check(boost::asio::io_context& loop, int& exit_code) {
    auto opened = storage::ReadLoop::open(writer.path(), on_loop(loop));
    if (!opened) return end_without_state(loop, exit_code, opened.error());
    reader = std::move(*opened);
    reader->ask(
        [file = writer.path()](storage::Database& database) {
          return storage::find_damage(database, file);
        },
        [this, &loop, &exit_code](const Result<std::optional<Error>>& damage) {
          reader.reset();
          if (!damage)
            spdlog::warn("the state file was not looked through: {}", damage.error().message);
          else if (*damage)
            end_without_state(loop, exit_code, **damage);
          else
            spdlog::info("the state file is sound");
        });
  }

  const bool checked;
  storage::WriteLoop writer;
  std::unique_ptr<storage::ReadLoop> reader;  // of the check
};

// Declared ones have a price; those that are found may not.
void warn_of_prices(const control::BrainOptions& brain) {
  if (brain.budget_per_hour.micros == 0) return;
  for (const domain::Device& row : brain.accelerators)
    if (domain::find_price(brain.prices, row.type) == nullptr)
      spdlog::warn(
          "budget_per_hour: {} has no price, and nothing is placed on it; add one as prices: {{{}: "
          "{{per_hour: 1, per_request: 0}}}}",
          row.type, row.type);
}

void say_cgroups(const runtime::CgroupReport& cgroups) {
  spdlog::info("cgroup limits for each replica: {}", cgroups.layers);
  for (const std::string& why : cgroups.refused) spdlog::warn("no cgroup limit on {}", why);
}

void warn_of_cores(int declared, int there) {
  if (declared <= there) return;
  spdlog::warn(
      "cores: {} are declared and this machine has {}; engines that compute here will slow each "
      "other",
      declared, there);
}

void show_machine(gateway::GatewayOptions& edge, const runtime::Machine& machine,
                  const std::string& share_dir) {
  edge.cores = machine.cores;
  edge.numa_nodes = machine.nodes;
  edge.openapi_yaml = read_text(share_dir + "/openapi.yaml");
}

void say_limits(const control::BrainOptions& brain, int cores,
                const runtime::CgroupReport& cgroups) {
  warn_of_cores(brain.cores, cores);
  warn_of_prices(brain);
  say_cgroups(cgroups);
}

// On stdout: who has started the server waits for this line.
void say_listening(const gateway::ListenAddress& listen, const gateway::ListenAddress& admin,
                   const gateway::Gateway& gateway) {
  std::printf("listening on http://%s:%d (admin http://%s:%d)\n", listen.host.c_str(),
              gateway.port(), admin.host.c_str(), gateway.admin_port());
  std::fflush(stdout);
}

void say_started(const std::string& version, const std::string& engine_commit,
                 const control::BrainOptions& brain, const std::string& data_dir) {
  spdlog::info("version={} engine=llama.cpp@{} cores={} memory={} templates={} data={}", version,
               engine_commit.substr(0, 9), brain.cores, format_bytes(brain.memory_bytes),
               format_bytes(brain.template_bytes), data_dir);
}

}  // namespace

int serve(const cli::ServeOptions& options, const std::string& version,
          const std::string& engine_commit) {
  set_up_process();
  const Result<ServerConfig> config = server_config(options, env);
  if (!config) return cannot_start(config.error(), kExitUsage);
  spdlog::set_level(spdlog::level::from_str(config->log_level));
  const auto listen = gateway::parse_listen(config->listen);
  if (!listen) return cannot_start(listen.error(), kExitUsage);
  const auto admin = gateway::parse_listen(config->admin_listen);
  if (!admin) return cannot_start(admin.error(), kExitUsage);
  auto state = storage::StateFile::open(config->data_dir);
  if (!state) return cannot_start(state.error());
  const runtime::Machine machine = runtime::probe_machine();
  const control::BrainOptions brain = brain_options(*config, machine);

  boost::asio::io_context loop(1);
  const SystemClock clock;
  int exit_code = 0;
  StateKeeper keeper(std::move(*state), loop, clock, *config, exit_code);
  models::ModelStore models(store_options(*config, *listen, *admin));
  const std::string bin = folder_of_this_program();
  const std::string share_dir = bin + "/../share/glowplug",
                    templates_dir = share_dir + "/templates";
  auto prompts = open_prompts(*config, machine.memory_bytes);
  if (!prompts) return cannot_start(prompts.error());
  const auto recorder = open_recorder(*config, clock, version, brain);
  LivePlatform platform(
      {.loop = loop,
       .clock = clock,
       .writer = keeper.writer,
       .models = models,
       .brain = brain,
       .supervisor = {.worker_path = first_of(config->worker_path, bin + "/glowplug-worker"),
                      .run_dir = run_folder(config->data_dir),
                      .templates_dir = templates_dir,
                      .standby = config->standby},
       .prompts = prompts->get(),
       .engine = engine_build(version, engine_commit),
       .recorder = recorder.get()});
  LiveCache cache(loop, models, platform,
                  {.machine_bytes = machine.memory_bytes,
                   .template_bytes = brain.template_bytes,
                   .scrub = {.every = config->cache_scrub},
                   .prompts = prompts->get()});
  auto usage =
      LiveUsage::open({loop, clock, platform.meter(), keeper.writer, config->data_dir + "/usage"});
  if (!usage) return cannot_start(usage.error());
  auto edge = gateway_options(*config, *listen, *admin, version, engine_commit, templates_dir);
  edge.memory_of = [&platform](domain::ProcessId process) { return platform.memory_of(process); };
  edge.cache = &cache;
  edge.usage = &(*usage)->ledger();
  show_machine(edge, machine, share_dir);
  gateway::Gateway gateway(loop, std::move(edge), platform, clock);
  auto queue = LiveQueue::open({loop, clock, keeper.writer, platform, gateway, config->data_dir,
                                config->webhooks, config->files_budget_bytes,
                                static_cast<std::size_t>(config->batch_lines)});
  if (!queue) return cannot_start(queue.error());
  if (auto opened = gateway.open(); !opened) return cannot_start(opened.error());
  platform.set_server_url(fmt::format("http://{}:{}", listen->host, gateway.port()));
  if (auto restored = platform.restore(); !restored) return cannot_start(restored.error());
  if (auto recovered = (*queue)->recover(); !recovered) return cannot_start(recovered.error());
  const ResidentList residents(loop, platform, config->data_dir + "/resident_templates");

  const Shutdown shutdown(loop, clock, platform, (*queue)->jobs(), gateway);
  say_listening(*listen, *admin, gateway);
  say_started(version, engine_commit, brain, config->data_dir);
  say_limits(brain, machine.cores, platform.cgroups());
  loop.run();
  return exit_code;
}

}  // namespace glowplug::app
