#include "runtime/supervisor.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <map>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "domain/errors.h"
#include "runtime/child_spawn.h"
#include "runtime/launch_plan.h"
#include "runtime/leaf_cgroup.h"
#include "runtime/leftovers.h"
#include "runtime/log_ring.h"
#include "runtime/replica_process.h"
#include "runtime/standby_pool.h"
#include "runtime/thread_order.h"

namespace glowplug::runtime {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLogBytesPerFunctionMax = 256 * 1024;
constexpr Duration kSweepPause = std::chrono::milliseconds(10);
constexpr int kSweeps = 100;  // after the last end; what stays then goes with the next start

Error storage_failed(std::string message) {
  return Error{std::string(domain::error::kStorageFailed), std::move(message), {}};
}

// Makes the replica's folder anew, for its owner alone.
Result<void> make_folder(const std::string& run_dir, const std::string& folder) {
  std::error_code code;
  if (Result<void> owned = own_run_folder(run_dir); !owned) return owned;
  fs::remove_all(folder, code);
  if (::mkdir(folder.c_str(), 0700) == 0) return {};
  return storage_failed(
      fmt::format("the replica's folder '{}' cannot be made: {}; check the rights of '{}'", folder,
                  std::generic_category().message(errno), run_dir));
}

// Goes with the server; what is still in it stays for the next one to clear away.
class RunFolder final {
 public:
  explicit RunFolder(std::string path) : path_(std::move(path)) {}
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;
  ~RunFolder() { ::rmdir(path_.c_str()); }

 private:
  const std::string path_;
};

}  // namespace

std::string_view word(control::Role role) {
  if (role == control::Role::Measure) return "measure";
  return role == control::Role::Template ? "template" : "replica";
}

void ReplicaObserver::on_measured(domain::ProcessId, const std::string&) {}

class Supervisor::State final : public ReplicaListener {
 public:
  State(boost::asio::io_context& loop, SupervisorOptions options, ReplicaObserver& observer)
      : run_folder_(options.run_dir),
        loop_(loop),
        options_(std::move(options)),
        observer_(observer),
        sweep_timer_(loop),
        places_{options_.worker_path, options_.run_dir, options_.server_url,
                options_.templates_dir} {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    reap_leftovers(options_.run_dir);
    if (options_.standby > 0) standby_.emplace(loop, options_.worker_path, options_.standby);
    if (!options_.cgroups) return;
    tree_.emplace(CgroupTree::open({}));
    sweep(kSweeps);
  }

  void set_server_url(std::string url) { places_.server_url = std::move(url); }

  Result<void> start(const control::StartProcess& start) {
    GLOWPLUG_ASSERT(!processes_.contains(start.process));
    const ReplicaProcess* from = start.from ? find(*start.from) : nullptr;
    if (start.from && from == nullptr)
      return Error{std::string(domain::error::kFunctionFailed), "its template is gone", {}};
    int port = 0;
    if (wants_port(start.manifest)) {
      const Result<int> found = find_free_port();
      if (!found) return found.error();
      port = *found;
    }
    Result<LaunchPlan> plan = plan_launch(start, places_, base_environment(), port);
    if (!plan) return plan.error();
    const std::string folder = plan->folder;
    const Result<void> made = make_folder(options_.run_dir, folder);
    if (!made) return made.error();
    const ReplicaTimes times{.load_stall_timeout = options_.load_stall_timeout,
                             .stop_grace = options_.stop_grace,
                             .fork_limit = options_.fork_limit};
    make_log_room(start.manifest.name);
    std::optional<Leaf> leaf = make_leaf(start);
    std::optional<SpawnedChild> begun;
    // One that was started ahead sees every GPU.
    const bool may_stand_by = from == nullptr && !start.gpus;
    if (may_stand_by && standby_) begun = standby_->take(*plan, leaf ? &*leaf : nullptr);
    Result<std::unique_ptr<ReplicaProcess>> process =
        from == nullptr ? ReplicaProcess::start(loop_, start.process, std::move(*plan),
                                                std::move(leaf), times, *this, std::move(begun))
                        : ReplicaProcess::fork(loop_, start.process, std::move(*plan),
                                               std::move(leaf), times, *this, *from);
    if (!process) {
      std::error_code kept;  // an empty folder that stays does no harm
      fs::remove_all(folder, kept);
      return process.error();
    }
    processes_.emplace(start.process,
                       Process{start.manifest.name, start.role, std::move(*process)});
    return {};
  }

  ReplicaProcess* find(domain::ProcessId process) const {
    const auto found = processes_.find(process);
    return found == processes_.end() ? nullptr : found->second.process.get();
  }

  void assign(const control::AssignReplica& assign) {
    const auto found = processes_.find(assign.replica);
    if (found == processes_.end()) return;
    found->second.function = assign.function;
    make_log_room(assign.function);
  }

  void kill_all() {
    for (const auto& [id, process] : processes_) process.process->kill();
  }

  std::vector<std::string> logs(const std::string& function) const {
    const auto found = logs_.find(function);
    return found == logs_.end() ? std::vector<std::string>{} : found->second.lines();
  }

  std::size_t running() const { return processes_.size(); }

  CgroupReport cgroups() const {
    if (!tree_) return {.layers = "none", .refused = {}};
    return {.layers = tree_->layers(), .refused = tree_->refused()};
  }

 private:
  struct Process {
    std::string function;
    control::Role role;
    std::unique_ptr<ReplicaProcess> process;
  };

  void progress(domain::ProcessId process, double fraction) override {
    observer_.on_progress(process, fraction);
  }
  void ready(domain::ProcessId process, const std::string& sandbox,
             std::optional<std::uint64_t> bytes_read) override {
    observer_.on_ready(process, sandbox, bytes_read);
  }

  void kept(domain::ProcessId process, std::vector<KeptCopy> copies) override {
    observer_.on_kept(process, std::move(copies));
  }
  void wants(domain::ProcessId process, std::uint64_t state) override {
    observer_.on_wants(process, state);
  }

  void printed(domain::ProcessId process, std::string_view line) override {
    const auto found = processes_.find(process);
    if (found == processes_.end()) return;
    if (found->second.role == control::Role::Measure && line.starts_with("{\"measured\":"))
      return observer_.on_measured(process, std::string(line));
    log(found->second.function, found->second.role, process, line);
  }

  void log(const std::string& function, control::Role role, domain::ProcessId process,
           std::string_view line) {
    logs_.try_emplace(function, domain::kLogLinesKept, kLogBytesPerFunctionMax)
        .first->second.push(fmt::format("{} {} | {}", word(role), process.value, line));
  }

  // What refuses a limit is told where the process's own refusals are; it runs all the same.
  std::optional<Leaf> make_leaf(const control::StartProcess& start) {
    if (!tree_) return std::nullopt;
    const auto refuse = [this, &start](const std::string& why) {
      log(start.manifest.name, start.role, start.process, "sandbox: " + why);
    };
    Result<Leaf> leaf = tree_->make_leaf(std::to_string(start.process.value),
                                         {.memory_bytes = start.limits.memory_bytes,
                                          .cpu_cores = start.limits.cpu_cores,
                                          .pids = start.limits.pids});
    if (!leaf) {
      refuse(leaf.error().message);
      return std::nullopt;
    }
    for (const std::string& why : leaf->refused()) refuse(why);
    return std::move(*leaf);
  }

  // The kernel holds a leaf for some milliseconds after its last process.
  void sweep(int looks) {
    if (!tree_ || tree_->remove_left() == 0 || looks == 0) return;
    sweep_timer_.expires_after(kSweepPause);
    sweep_timer_.async_wait([this, looks](boost::system::error_code code) {
      if (!code) sweep(looks - 1);  // the timer is a member: it does not outlive `this`
    });
  }

  void gone(const control::ProcessGone& end) override {
    processes_.erase(end.process);
    sweep(kSweeps);
    observer_.on_gone(end);
  }

  // Logs outlive replicas, so that a failure can be read afterwards; functions without replicas
  // make room first.
  void make_log_room(const std::string& function) {
    if (logs_.size() < domain::kFunctionsMax || logs_.contains(function)) return;
    for (auto log = logs_.begin(); log != logs_.end(); ++log) {
      const bool used =
          std::any_of(processes_.begin(), processes_.end(),
                      [&log](const auto& entry) { return entry.second.function == log->first; });
      if (used) continue;
      logs_.erase(log);
      return;
    }
  }

  const RunFolder run_folder_;  // first: the processes' folders go before it
  boost::asio::io_context& loop_;
  SupervisorOptions options_;
  ReplicaObserver& observer_;
  boost::asio::steady_timer sweep_timer_;
  LaunchPlaces places_;
  std::optional<CgroupTree> tree_;  // outlives the leaves in processes_
  std::optional<StandbyPool> standby_;
  std::map<domain::ProcessId, Process> processes_;
  std::map<std::string, LogRing> logs_;
};

Supervisor::Supervisor(boost::asio::io_context& loop, SupervisorOptions options,
                       ReplicaObserver& observer)
    : state_(std::make_unique<State>(loop, std::move(options), observer)) {}

Supervisor::~Supervisor() = default;

void Supervisor::set_server_url(std::string url) { state_->set_server_url(std::move(url)); }

Result<void> Supervisor::start(const control::StartProcess& start) { return state_->start(start); }

void Supervisor::stop(domain::ProcessId process) {
  if (ReplicaProcess* found = state_->find(process)) found->stop();
}

void Supervisor::kill(domain::ProcessId process) {
  if (ReplicaProcess* found = state_->find(process)) found->kill();
}

void Supervisor::remember(domain::ProcessId process, std::span<const RememberedPrompt> prompts) {
  if (ReplicaProcess* found = state_->find(process)) found->remember(prompts);
}

void Supervisor::keep(domain::ProcessId process) {
  if (ReplicaProcess* found = state_->find(process)) found->keep();
}

void Supervisor::give(domain::ProcessId process, std::uint64_t id, UniqueFd state) {
  if (ReplicaProcess* found = state_->find(process)) found->give(id, std::move(state));
}

Result<void> Supervisor::set_threads(const control::SetThreads& set) {
  const ReplicaProcess* found = state_->find(set.process);
  return found == nullptr ? Result<void>() : order_threads(found->control(), set.threads);
}

void Supervisor::freeze(domain::ProcessId process, bool frozen) {
  const ReplicaProcess* found = state_->find(process);
  if (found != nullptr && found->pid() > 0) ::kill(-found->pid(), frozen ? SIGSTOP : SIGCONT);
}

void Supervisor::kill_all() { state_->kill_all(); }

void Supervisor::assign(const control::AssignReplica& assign) { state_->assign(assign); }

std::optional<control::Endpoint> Supervisor::endpoint(domain::ProcessId process) const {
  const ReplicaProcess* found = state_->find(process);
  return found == nullptr ? std::nullopt : std::optional(found->endpoint());
}

std::optional<pid_t> Supervisor::pid(domain::ProcessId process) const {
  const ReplicaProcess* found = state_->find(process);
  return found == nullptr || found->pid() < 0 ? std::nullopt : std::optional(found->pid());
}

std::vector<std::string> Supervisor::logs(const std::string& function) const {
  return state_->logs(function);
}

std::size_t Supervisor::running() const { return state_->running(); }

CgroupReport Supervisor::cgroups() const { return state_->cgroups(); }

}  // namespace glowplug::runtime
