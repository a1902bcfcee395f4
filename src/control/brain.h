// The brain of the function platform: handle(event, now) -> effects. It decides when replicas start
// and stop and which call goes to which replica; it does no I/O, reads no clock, and knows no
// thread, socket or process.
//
//   call ──▶ waiting ──▶ granted ──▶ ended          one queue per function, tenants in turn
//               │  the function's model is prepared (fetched, verified) once, then one replica
//               starts └──▶ refused (deadline, queue full, failed, does not fit, draining)
//
// Rules: one start at a time per function and cache domain however many calls wait. A revision
// replaces the old one only once it is ready. An idle replica stops after keep_alive, or earlier
// when its memory is needed (policy/evictor.h); one with a call in flight is never stopped, but
// gets no new calls when others have waited for its memory. A failed start is remembered for a
// while (policy/retry.h), so that a broken model cannot cause a storm of loads.
// A replica serves one cache domain: its first grant binds it. Calls of a domain that no replica
// serves start one of their own, within scale.max; beyond it an idle replica of another domain
// goes. Several revisions may serve side by side, each with its share of the calls; a call waits
// for a replica of the one that was chosen for it. An engine that can sleep does so before its
// replica stops; a call wakes it, and starts no other. Replicas that go on dying: brain_crashes.cc.
// Where the manifest allows it, a replica is forked from a template, which is loaded once for all
// revisions that run the same model in the same way and stays when the last replica has gone,
// within a budget. A fork that fails is followed by a start without a template. Behind a start a
// spare is made: a replica that belongs to no function until the next start takes it. Load asks for
// more replicas, or fewer: brain_scaling.cc. Where there are accelerators, each gets one, or two,
// by its size: brain_devices.cc.
//
// Thread: one owner, the server loop. Does not persist, meter or speak HTTP.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/time_types.h"
#include "base/units.h"
#include "control/brain_options.h"
#include "control/brain_state.h"
#include "control/device_pool.h"
#include "control/effects.h"
#include "control/events.h"
#include "control/generations.h"
#include "control/price_list.h"
#include "control/views.h"
#include "policy/budget.h"
#include "policy/evictor.h"
#include "policy/scale_down.h"
#include "policy/schedule.h"
#include "policy/scheduler.h"
#include "policy/templates.h"

namespace glowplug::control {

class DeviceRoom;

class Brain final : BrainState {
 public:
  explicit Brain(const BrainOptions& options)
      : options_(options),
        pool_({options.accelerators, options.memory_bytes, options.engine_on_gpu}),
        prices_(options.prices, options.budget_per_hour),
        scale_clock_(options.scale_speed) {}

  // `wall` is what schedules go by.
  Effects handle(const Event& event, Time now, WallTime wall = {});

  void each_function(const std::function<void(FunctionView)>& visit) const;  // by name
  std::optional<FunctionView> function(const std::string& name) const;
  std::optional<CalleeView> callee(const std::string& name) const;
  std::optional<FunctionStatus> status(const std::string& name) const;
  // What a granted call is answered by.
  std::optional<GenerationView> generation(const std::string& name, int revision) const;
  // Of a call that was broken off, before its CallEnded: replicas die of it, and of others not.
  Blamed blames(domain::CallId call) const;
  std::vector<DeviceView> devices() const;
  // An error where it is known already that no device here can hold it.
  Result<void> may_place(const domain::Manifest& manifest) const;
  const policy::DeviceLedger& device_ledger() const { return pool_.ledger(); }
  std::uint64_t reserved_bytes() const;
  std::size_t replicas() const { return replicas_.size(); }
  std::size_t templates() const { return templates_.size(); }

 private:
  // brain_events.cc: one per event.
  void on(const FunctionPut& event);
  void on(const FunctionDeleted& event);
  void on(const TrafficSet& event);
  void on(const ModelProgress& event);
  void on(const ModelPrepared& event);
  void on(const ModelUnavailable& event);
  void on(const ModelResidency& event);
  void on(const StartMeasured& event);
  void on(const ModelLost& event);
  void on(const CallArrived& event);
  void on(const CallEnded& event);
  void on(const CallAbandoned& event);
  void on(const ProcessProgress& event);
  void on(const ProcessReady& event);
  void on(const ReplicaAssigned& event);
  void on(const ProcessGone& event);
  void on(const ReplicaAsleep& event);  // brain_sleep.cc
  void on(const ReplicaAwake& event);
  void on(const SleepFailed& event);
  void on(const WarmWanted& event);
  void on(const PreloadWanted& event);
  void on(const StopWanted& event);
  void on(const FunctionTuned& event);
  void on(const TemplatesRecalled& event);
  void on(const MemorySetAside& event);
  void on(const MemoryMeasured& event);  // brain_memory.cc
  void on(const MemoryKnown& event);
  void on(const BeginningShared& event);  // brain_learned.cc
  void on(const AnswerBegan& event);      // brain_scaling.cc
  void on(const DrainStarted& event);
  void on(const Tick& event);

  // brain.cc: what follows from the state after every event.
  void settle();
  void start_what_is_wanted();
  void ensure_started(const std::string& name, Function& function, Generation& generation);
  void start_replica(const std::string& name, const Generation& generation, std::uint64_t bytes,
                     TemplateEntry* from, const policy::Allocation* on = nullptr);
  bool make_room(const std::string& name, const Generation& generation, std::uint64_t bytes,
                 std::optional<domain::ProcessId> template_kept = {});
  void stop_idle();
  void drain(ReplicaEntry& entry, const std::string& reason);

  // brain_queue.cc
  void grant_waiting(const std::string& name, Function& function);
  void refuse_expired(const std::string& name, Function& function);
  bool has_work(const std::string& name, const Function& function) const;
  bool has_free_slot(const std::string& name) const;
  static double slot_seconds(const Generation& generation, int weight);
  policy::QueuedCall queued(const Waiting& call, const Generation* its) const;
  std::vector<policy::QueuedCall> queued(const Function& function) const;
  std::vector<std::size_t> grant_order(const Function& function) const;
  void note_tenant(const std::string& name, Function& function, const Waiting& call);
  void note_had(const Call& call);
  int ahead_of(const Function& function, const Generation& generation, const Waiting& call) const;

  // brain_eviction.cc
  void note_visit(const std::string& name, Function& function, const Replica& replica);
  double likely(const policy::Visits& visits) const;  // that the next visit is theirs: log2
  policy::Kept kept(const ReplicaEntry& entry) const;
  std::vector<domain::ProcessId> stoppable_replicas() const;
  std::vector<policy::Kept> idle_replicas() const;
  std::vector<policy::Kept> idle_templates(Idle idle) const;
  const std::vector<policy::Kept>& idle() const;  // replicas, and templates without work
  bool evict(const std::string& name, std::uint64_t bytes,
             std::optional<domain::ProcessId> template_kept,
             const std::optional<policy::Contender>& contender);
  void keep_templates_within_budget();

  // brain_schedule.cc: whose turn it is, and for whom it comes too late.
  static policy::Contender contender(const Function& function, const Generation& generation,
                                     Time since);
  std::vector<FunctionEntry*> start_order() const;
  void let_one_give_way(const std::string& name, Function& function, const Generation& generation,
                        const Wanted& wanted = {});
  std::optional<policy::Contender> contender(const std::string& name,
                                             const Generation& generation) const;
  policy::Resident resident(const ReplicaEntry& entry) const;
  enum class Stays { Replica, Template };
  bool keeps_its_turn(const ReplicaEntry& entry, const std::optional<policy::Contender>& contender,
                      Stays what) const;
  void await_pauses(const std::string& name, const Generation& generation);
  static void await_turn(Function& function, std::optional<Time> at);
  const std::vector<Holder>& holders() const;
  void claim(const std::string& name, const Generation& generation, const Claim& what);
  Claim claimed_before(const std::string& name) const;
  bool lets_another_start(const Function& function) const;
  enum class Growth { No, Counts };
  std::optional<Duration> expected_wait(const std::string& name, const Generation& generation,
                                        const Waiting& call, int ahead, Growth growth) const;
  bool refuse_hopeless(const std::string& name, const Function& function,
                       const Generation& generation, const Waiting& call);
  int queue_retry_s(const std::string& name, const Generation& generation,
                    const Waiting& call) const;

  // brain_turn.cc: which functions a turn looks at.
  void stir(FunctionEntry& entry) { stirring_.insert(&entry); }
  void stir_holding();
  void forget(FunctionEntry& entry);
  void stir_due();
  void let_rest();
  bool is_at_rest(const FunctionEntry& entry) const;
  bool waits_for_a_start(const FunctionEntry& entry) const;
  bool lacks_a_prime(const Function& function) const;
  std::optional<Time> timer_of(const FunctionEntry& entry) const;
  void set_timer(FunctionEntry& entry, std::optional<Time> at);
  std::optional<Time> next_wake() const;

  // brain_traffic.cc: which generation takes a call, and how one set of them replaces another.
  bool cannot_start(const Generation& generation) const;
  void create(const TrafficSet& event);
  void prepare_serving(const std::string& name, Function& function);
  void replace(const std::string& name, Function& function,
               const std::vector<TrafficSet::Served>& served);
  bool relabel(const std::string& name, Function& function, const TrafficSet::Served& served);
  Generation& choose_generation(Function& function, Waiting& waiting);
  Generation* stand_in(Function& function) const;
  void fall_back(const std::string& name, Function& function, const Generation& failed);
  void remember(Generation& generation, const Error& error);
  void fail_coming(Function& function, Generation& generation, const Error& error);
  bool is_cold(const std::string& name, const Function& function) const;
  bool takes_over(const std::string& name, const Function& function) const;
  void adopt_ready();
  void adopt_next(const std::string& name, Function& function);
  void ensure_next_started(const std::string& name, Function& function);

  // brain_crashes.cc
  bool is_shut(const Generation& generation) const;
  bool is_closed(const Generation& generation) const;
  void refuse_failed(domain::CallId call, const Generation& generation);
  void note_death(const Replica& replica, const ProcessGone& event);
  void note_answer(Function& function, Generation& generation, domain::CallId call);

  // brain_domains.cc: a replica for each cache domain that calls.
  ReplicaEntry* best_replica(const std::string& name, const Waiting& waiting);
  bool has_replica(const std::string& name, const Waiting& waiting) const;
  bool is_blocked(const std::string& name, const Waiting& waiting) const;
  void start_beside(const std::string& name, Function& function, Generation& generation);
  void bind(ReplicaEntry& entry, const domain::CacheDomain& domain);
  const Unserved& unserved(const std::string& name, const Generation& generation) const;
  Unserved find_unserved(const std::string& name, const Generation& generation) const;
  bool serves_waiting(const std::string& name, const Function& function,
                      const Replica& replica) const;
  void make_place(const std::string& name, const Generation& generation);
  void keep_idle_state();
  std::optional<Time> keep_time_of(const Replica& replica) const;

  // brain_templates.cc
  TemplateEntry* template_of(const Generation& generation);
  const TemplateEntry* template_of(const Generation& generation) const;
  TemplateEntry* primed_of(const Generation& generation);
  const TemplateEntry* primed_of(const Generation& generation) const;
  // From which a replica would be forked now: the primed one once it is ready, else the base.
  TemplateEntry* origin_of(const Generation& generation);
  const TemplateEntry* origin_of(const Generation& generation) const;
  bool is_origin(TemplateEntry& entry);  // of some generation
  template <typename Uses>
  bool anybody(TemplateEntry& entry, const Uses& uses);
  void prime_templates();
  void prime(const std::string& name, const Generation& generation);
  void fork_template(const std::string& name, const Generation& generation, Template primed,
                     const std::string& with);
  void primed_gone(const Template& gone, const std::string& cause);
  bool is_computing() const;
  bool may_fork(const Generation& generation) const;
  bool fork_or_load(const std::string& name, const Generation& generation);
  bool fits_beside(const Template& primed, const Generation& generation) const;
  void load_template(const std::string& name, const Generation& generation, std::uint64_t bytes);
  void start_template(domain::ProcessId id, Template made, int revision);
  void template_ready(TemplateEntry& entry);
  void template_gone(const ProcessGone& event);
  bool tries_again(const std::string& name, Generation& generation, Ending ending);
  void note_child_end(const Replica& replica, Ending ending);
  const std::set<domain::ProcessId>& awaited_templates() const;
  void drop_template(TemplateEntry& entry, const std::string& reason);
  void drop_unused_templates();

  // brain_learned.cc
  TemplateEntry* learned_of(const Generation& generation, const domain::CacheDomain& domain);
  const TemplateEntry* learned_of(const Generation& generation,
                                  const domain::CacheDomain& domain) const;
  bool fork_with_learned(const std::string& name, const Generation& generation);
  void prime_learned(const std::string& name, const Generation& generation);

  // brain_holds.cc: what is ready ahead of calls, because somebody declared or asked it.
  policy::Scheduled scheduled(const Generation& generation) const;
  int held_replicas(const Function& function, const Generation& generation) const;
  bool holds_template(const Function& function, const Generation& generation) const;
  bool is_held(const Template& held) const;
  void hold_ahead();
  void hold_template(const std::string& name, Function& function, Generation& generation);
  void recall_templates();
  std::uint64_t held_bytes_with(const Generation& generation) const;
  std::string hold_fault(const Function& function) const;
  bool holds_anything(const Function& function) const;
  bool lacks_what_it_holds(const FunctionEntry& entry) const;
  Time end_of(Duration hold) const { return hold == kForever ? Time::max() : now_ + hold; }
  std::vector<HoldView> holds_of(const Function& function) const;

  // brain_sleep.cc
  void let_sleep();
  void wake_sleepers(const std::string& name, const Function& function,
                     const Generation& generation);
  std::optional<Time> sleep_time_of(const Replica& replica) const;
  int awake_replicas(const std::string& name, int revision) const;  // or on their way
  bool device_is_held(const std::string& name) const;

  // brain_memory.cc: what is reserved, and what was learned of it.
  const policy::MemoryHistory& history_of(const std::string& key) const;
  std::uint64_t replica_bytes(const Generation& generation) const;
  std::uint64_t forked_bytes(const Generation& generation) const;
  std::uint64_t template_bytes(const Generation& generation) const;
  std::uint64_t loading_bytes(const Generation& generation) const;
  std::uint64_t reservation_of(const Account& account) const;
  void measured(ReplicaEntry& entry, const MemoryMeasured& event);
  void note_unmeasured(const Replica& gone, std::uint64_t most_bytes);
  void measured(TemplateEntry& entry, const MemoryMeasured& event);
  void note_learned(const std::string& label, const Account& account, int samples);
  void reserve(std::uint64_t& bytes, std::uint64_t needed, const std::string& label,
               const std::string& who, std::uint64_t holds);
  void raise(std::uint64_t& bytes, std::uint64_t holds, const std::string& label,
             const std::string& who);
  bool inherit(domain::ProcessId origin, std::uint64_t bytes);
  void pass_on(const Replica& heir);
  std::uint64_t leaving_bytes(Leaving when) const;
  void relieve_memory();

  // brain_scaling.cc: how many replicas load asks for.
  void note_arrival(Generation& generation);
  void note_request(Generation& generation, policy::Start start);
  void note_load(const std::string& name, Function& function);
  void scale_by_load();
  void scale(const std::string& name, Function& function, Generation& generation);
  void ask_again(const std::string& name, Generation& generation);
  Domains domains_since(const std::string& name, const Function& function,
                        const Generation& generation, Time since) const;
  policy::LoadFacts load_facts(const std::string& name, const Function& function,
                               const Generation& generation) const;
  void recall_or_grow(const std::string& name, Function& function, Generation& generation,
                      int missing);
  int recall(const std::string& name, const Generation& generation, int missing);
  void grow(const std::string& name, Function& function, Generation& generation, int missing);
  int cores_taken(const std::string& name, const Generation& generation) const;
  Room room_to_grow(const std::string& name, const Generation& generation, int wanted) const;
  static policy::ScaleDownCandidate candidate(const ReplicaEntry& entry);
  void retire(const std::string& name, const Generation& generation, int surplus);
  void keep_max(const std::string& name, const Generation& generation);
  void hold_what_load_wants(const std::string& name, const Function& function,
                            Generation& generation);
  std::optional<ScaleView> scale_view(const Generation& generation) const;
  template <typename Visit>
  void each_replica(const std::string& name, int revision, const Visit& visit);
  template <typename Visit>
  void each_replica(const std::string& name, int revision, const Visit& visit) const;

  // brain_devices.cc: which devices a replica runs on.
  bool is_on_accelerator(const Generation& generation) const;
  bool computes_here(const Generation& generation) const;
  std::uint64_t host_bytes(const Generation& generation) const;  // of its next replica there
  Result<std::vector<policy::Placement>> placements(const Function& function,
                                                    const Generation& generation) const;
  bool place(const std::string& name, Function& function, Generation& generation);
  void note_placement(const std::string& name, Generation& generation, policy::Placement placed);
  void start_on_device(const std::string& name, Function& function, Generation& generation);
  DeviceRoom device_room(const std::optional<policy::Contender>& contender = {}) const;
  void claim_devices(const std::string& name, const Generation& generation,
                     const policy::Placement& place);
  std::vector<policy::Placement> unclaimed(const std::string& name,
                                           std::vector<policy::Placement> places) const;
  void make_device_room(const std::string& name, const Generation& generation,
                        const std::vector<policy::Placement>& places);
  bool left_device(domain::ProcessId id, const Replica& replica, Ending ending);
  void correct_on_device(const ReplicaEntry& entry);
  void relieve_devices();
  Room room_on_devices(const std::string& name, const Generation& generation, Room by_host) const;

  // brain_budget.cc: what replicas may cost and reserve together.
  domain::Money cost_on(const policy::Allocation* on) const;
  policy::Spend spent_by(const std::string& name, Counted counted) const;
  const policy::Spend& spent_by_all(Counted counted) const;
  policy::Spend next_spend(const Function& function, const Generation& generation) const;
  policy::BudgetRoom own_room(const std::string& name, const Function& function,
                              const Generation& generation, int wanted, Counted counted) const;
  bool is_beyond_budget(const Function& function, const Generation& generation) const;
  policy::Spend awaited_before(const std::string& name, const Function& function,
                               const Generation& generation) const;
  bool own_budget_holds(const std::string& name, const Generation& generation,
                        const Replica& spare) const;
  bool own_budget_allows(const std::string& name, const Function& function,
                         const Generation& generation, const policy::Spend& each);
  void tell_budget(const std::string& name, const std::function<std::string()>& why);
  bool may_spend(const std::string& name, Function& function, Generation& generation,
                 std::uint64_t bytes);
  std::vector<policy::Placement> payable_now(const std::string& name, Function& function,
                                             const Generation& generation,
                                             std::vector<policy::Placement> places);
  bool make_budget_room(const std::string& name, const Generation& generation, domain::Money cost);
  bool evict_for_money(const std::string& name, std::int64_t micros,
                       const std::optional<policy::Contender>& contender);
  Room room_in_budget(const std::string& name, const Generation& generation, Room room) const;
  void keep_budget(const std::string& name, const Function& function);
  void keep_budget_of(const Replica& replica);
  std::string budget_fault(const std::string& name, const Function& function) const;

  // brain_cores.cc: how many threads a replica computes with.
  policy::Computes where_computes(const Generation& generation) const;
  int threads_for(const std::string& name, const Generation& generation) const;
  int threads_max(const std::string& name, const Generation& generation) const;
  void take_cores_of(Replica& replica, const Generation& generation);
  void give_cores_of(const Replica& replica);
  void share_cores();
  void set_frozen(ReplicaEntry& entry, bool frozen);
  void thaw(ReplicaEntry& entry);

  // brain_spares.cc
  bool hand_over(const std::string& name, const Generation& generation, const TemplateEntry& from);
  void make_spares();
  void stop_spares(domain::ProcessId of, const std::string& reason);
  void stop_unwanted_spares();
  void spare_gone(const Replica& spare);
  std::optional<Time> spare_wake() const;

  // What is worked out once of a state: while consequences settle, each change of it is an effect.
  template <typename Value, typename Compute>
  const Value& known(Known<Value>& memo, const Compute& compute) const;

  // Helpers shared by the files.
  void serve_from_now(ReplicaEntry& entry);
  const std::string& label_of(const Replica& replica) const;  // for decisions
  void grant(const std::string& name, Function& function, const Waiting& waiting,
             ReplicaEntry& entry);
  void refuse(domain::CallId call, const Error& error, int retry_after_s);
  void refuse_waiting(Function& function, const Error& error, int retry_after_s,
                      std::optional<int> revision = {});
  void fail(const std::string& name, Function& function, Generation& generation,
            const Error& error);
  void decide(const std::string& function, const std::string& decision, const std::string& reason);
  void move_to(Replica& replica, domain::State state);
  Generation* generation_of(const std::string& name, int revision);  // stirs its function
  const Generation* generation_of(const std::string& name, int revision) const;
  Function* find(const std::string& name);  // stirs it
  int wanted_replicas(const std::string& name, const Function& function,
                      const Generation& generation) const;
  int held_warm(const Function& function, const Generation& generation) const;
  // In the order of their ids; of the name "" the spares.
  const std::vector<ReplicaEntry*>& replicas_of(const std::string& name) const;
  void list(ReplicaEntry& entry);    // among those of its function
  void unlist(ReplicaEntry& entry);  // before it changes its function or goes
  int live_replicas(const std::string& name, int revision) const;
  std::optional<Time> stop_time_of(const Replica& replica) const;
  RevisionStatus status_of(const std::string& name, const Generation& generation) const;
  FunctionStatus status_of(const std::string& name, const Function& function) const;
  FunctionView view(const std::string& name, const Function& function) const;

  BrainOptions options_;
  DevicePool pool_;
  PriceList prices_;
  std::map<std::string, Function> functions_;
  // What a turn may change: those with calls that wait, with an event of theirs, with something
  // held or coming that is not there yet, and those whose timer is due. All others are at rest, and
  // a turn takes no longer however many they are.
  std::set<FunctionEntry*, ByName> stirring_;
  std::set<FunctionEntry*, ByName> holding_;          // see holds_anything()
  std::set<std::pair<Time, FunctionEntry*>> timers_;  // of all
  std::uint64_t deployments_ = 0;                     // counts what may change who uses what
  std::map<domain::ProcessId, Replica> replicas_;
  std::unordered_map<std::string, std::vector<ReplicaEntry*>> replicas_of_;  // "" = the spares
  mutable const std::pair<const std::string, std::vector<ReplicaEntry*>>* listed_ =
      nullptr;  // last
  std::map<domain::CallId, Call> calls_;
  std::map<domain::ProcessId, Template> templates_;
  std::uint64_t last_process_ = 0;
  std::deque<std::string> recalled_;  // whose templates are still to be loaded
  std::string visited_;               // the last function that was
  std::uint64_t visits_ = 0;          // of all, see policy/evictor.h
  std::uint64_t set_aside_bytes_ = 0;
  std::unordered_map<std::string, policy::MemoryHistory> memory_;  // by kind of process
  bool draining_ = false;
  std::optional<Time> wake_;                       // as last told
  mutable std::optional<std::uint64_t> reserved_;  // while no process comes, goes or is measured
  bool workers_changed_ = false;                   // since share_cores()
  int sharers_ = 0;  // replicas that share_cores() may have something to say to
  std::optional<Time> freeze_review_;
  ScaleClock scale_clock_;
  bool settling_ = false;
  mutable std::uint64_t changes_ = 1;  // until effects_ was empty
  mutable Memos memos_;
  Time now_{};       // of the event being handled
  WallTime wall_{};  // the same
  Turn turn_;
  Effects effects_;  // of the event being handled
};

}  // namespace glowplug::control

#include "control/brain_each.h"
