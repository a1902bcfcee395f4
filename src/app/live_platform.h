// The live function platform: the brain's effects carried out on this machine.
//
//   gateway ──call/put/…──▶ LivePlatform ──Event──▶ control::Brain
//   gateway ◀──grant/refuse── LivePlatform ◀──Effects──┘
//                     │ start, stop ▶ runtime::Supervisor ──ready, gone──▶ back as events
//                     │ prepare     ▶ models::ModelStore on its own threads, back as events
//                     └ put, remove, checkpoints ▶ Rollouts: stored before the brain hears of it
//
// It decides nothing. An event that arrives while another is handled waits its turn, so the brain
// is never re-entered. Thread: the server loop; only preparing models runs elsewhere and posts its
// outcome back.
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>

#include "app/clock_watch.h"
#include "app/decision_recorder.h"
#include "app/memory_watch.h"
#include "app/prompt_states.h"
#include "app/rollouts.h"
#include "app/tuner.h"
#include "base/clock.h"
#include "control/brain.h"
#include "control/platform.h"
#include "control/watch_list.h"
#include "domain/limits.h"
#include "metering/meter.h"
#include "models/model_store.h"
#include "runtime/sleep_runner.h"
#include "runtime/supervisor.h"
#include "storage/learned_memory.h"
#include "storage/write_loop.h"

namespace glowplug::app {

class LivePlatform final : public control::Platform, public runtime::ReplicaObserver {
 public:
  struct Parts {
    boost::asio::io_context& loop;
    const Clock& clock;
    storage::WriteLoop& writer;
    models::ModelStore& models;
    control::BrainOptions brain;
    runtime::SupervisorOptions supervisor;
    models::PromptStore* prompts = nullptr;  // null: no prompt state outlives its replica
    std::string engine;                      // build of the engine, which its states fit
    DecisionRecorder* recorder = nullptr;    // null: what is decided is not recorded
  };
  explicit LivePlatform(const Parts& parts);
  ~LivePlatform() override;

  Result<void> restore();  // deploys what the store holds, knows what was learned
  void begin_drain();      // refuses new calls, stops replicas as they become idle
  bool drained() const;    // no replica is left
  void kill_all();
  runtime::CgroupReport cgroups() const { return supervisor_.cgroups(); }
  void set_server_url(std::string url) {
    supervisor_.set_server_url(std::move(url));
  }  // known once the port is bound
  std::uint64_t memory_of(domain::ProcessId process) { return memory_.bytes_of(process); }
  metering::Meter& meter() { return meter_; }  // told of all that runs here
  // What app/live_cache finds out about model files.
  void tell(const control::ModelResidency& event) { post(event); }
  void tell(const control::ModelLost& event) { post(event); }
  // What was resident before a restart.
  void tell(const control::TemplatesRecalled& event) { post(event); }

  domain::CallId call(control::CallWish wish,
                      std::function<void(Result<control::Grant>, int retry_after_s)> done) override;
  void abandon(domain::CallId call) override;
  void finish(domain::CallId call, control::CallOutcome outcome) override;
  control::Blamed blames(domain::CallId call) const override;
  void began(const std::string& function, int revision, Duration after) override;
  Result<control::PutOutcome> put(const domain::Manifest& manifest,
                                  std::optional<int> if_revision) override;
  Result<void> remove(const std::string& function) override;
  Result<void> warm(const std::string& function, int count, Duration hold) override;
  Result<void> preload(const std::string& function, domain::Tier tier, Duration hold) override;
  Result<void> stop(const std::string& function) override;
  control::Checkpoints& checkpoints() override { return rollouts_; }
  Result<domain::WatchId> watch(const std::string& function,
                                std::function<void(control::Change)> changed) override;
  void unwatch(domain::WatchId watch) override { watchers_.remove(watch); }
  Result<domain::TuneId> tune(const control::TuneWish& wish,
                              std::function<void(const control::TuneNews&)> heard) override;
  void abandon_tune(domain::TuneId tune) override;
  void each_function(const std::function<void(control::FunctionView)>& visit) const override;
  std::optional<control::FunctionView> function(const std::string& name) const override;
  std::optional<control::CalleeView> callee(const std::string& name) const override {
    return brain_.callee(name);
  }
  std::vector<control::DeviceView> devices() const override { return brain_.devices(); }
  std::vector<std::string> logs(const std::string& function) const override {
    return supervisor_.logs(function);
  }
  std::vector<control::Decision> decisions() const override {
    return {decisions_.begin(), decisions_.end()};
  }
  control::ProcessCounts process_counts() const override { return supervisor_.counts(); }
  bool admitting() const override { return !draining_; }

  void on_progress(domain::ProcessId process, double fraction) override;
  void on_ready(domain::ProcessId process, const std::string& sandbox,
                std::optional<std::uint64_t> bytes_read) override;
  void on_kept(domain::ProcessId process, std::vector<runtime::KeptCopy> copies) override;
  void on_wants(domain::ProcessId process, std::uint64_t state) override;
  void on_measured(domain::ProcessId process, const std::string& line) override;
  void on_gone(domain::ProcessId process, const runtime::ProcessEnd& end) override;

 private:
  using Done = std::function<void(Result<control::Grant>, int retry_after_s)>;
  struct Caller {
    std::string function;
    int weight = 1;
    Done done;
  };

  void post(control::Event event);
  control::Effects decide(const control::Event& event);
  void carry_out(const control::PrepareModel& effect);
  void prepare(const domain::Manifest& manifest, int revision);
  void carry_out(const control::ReadModel& effect);
  void carry_out(const control::StartProcess& effect);
  void carry_out(const control::AssignReplica& effect);
  void carry_out(const control::BindReplica& effect);
  void carry_out(const control::KeepState& effect);
  void carry_out(const control::SleepReplica& effect);
  void carry_out(const control::WakeReplica& effect);
  void carry_out(const control::SetThreads& effect);
  void carry_out(const control::FreezeReplica& effect);
  void carry_out(const control::StopProcess& effect);
  void carry_out(const control::KillProcess& effect);
  void carry_out(const control::GrantCall& effect);
  void carry_out(const control::RefuseCall& effect);
  void carry_out(const control::MemoryLearned& effect);
  void carry_out(const control::Decision& effect);
  void answer(domain::CallId call, Result<control::Grant> outcome, int retry_after_s);
  std::string fault_of(const domain::ModelFacts& facts);
  bool may_load(const control::StartProcess& effect);
  void turn(domain::ProcessId replica, std::vector<runtime::SleepStep> steps, Duration limit,
            control::Event reached);
  void set_timer(std::optional<Time> at);
  void meter_start(const control::StartProcess& effect);

  // live_tune.cc
  std::pair<int, std::uint64_t> calls_now() const;  // in flight or waiting; ever granted
  Result<TuneJob> tune_job(const control::TuneWish& wish) const;
  control::TuneNews keep_tuned(const control::TuneWish& wish, int revision,
                               domain::TuneResult result);
  control::FunctionView shown(control::FunctionView view) const;

  boost::asio::io_context& loop_;
  const Clock& clock_;
  models::ModelStore& models_;
  control::Brain brain_;
  metering::Meter meter_;
  DecisionRecorder* const recorder_;
  Rollouts rollouts_;
  control::WatchList watchers_;
  runtime::Supervisor supervisor_;
  runtime::SleepRunner sleepers_;
  PromptStates prompts_;
  MemoryWatch memory_;
  storage::LearnedMemory learned_;
  std::uint64_t memory_bytes_;  // that the brain may reserve
  int cores_;
  Tuner tuner_;
  boost::asio::steady_timer timer_;
  std::optional<Time> timer_at_;
  ClockWatch clock_watch_;
  std::map<domain::CallId, Caller> callers_;  // not yet answered
  std::map<domain::CallId, domain::ProcessId> granted_;
  std::set<domain::ProcessId> bad_sleepers_;  // did not sleep or wake: what ends them is counted so
  std::deque<control::Event> events_;         // waiting for their turn
  std::deque<control::Decision> decisions_;
  std::uint64_t last_call_ = 0;
  bool handling_ = false;
  bool draining_ = false;
  std::atomic<bool> stopping_ = false;  // tells downloads to give up
  // Last: joined before the rest goes away. What is on this machine waits for no download, and what
  // is known for no other file to be read.
  boost::asio::thread_pool fetchers_{domain::kFetchesMax};
  boost::asio::thread_pool readers_{2};  // of whole files, to hash them or into the page cache
  boost::asio::thread_pool finders_{1};
};

}  // namespace glowplug::app
