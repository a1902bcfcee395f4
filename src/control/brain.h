// The brain of the function platform: handle(event, now) -> effects. It decides when replicas start
// and stop and which call goes to which replica; it does no I/O, reads no clock, and knows no
// thread, socket or process.
//
//   call ──▶ waiting ──▶ granted ──▶ ended          one queue per function, first come first served
//               │  the function's model is prepared (fetched, verified) once, then one replica
//               starts └──▶ refused (deadline, queue full, failed, does not fit, draining)
//
// Rules: one start at a time per function and cache domain however many calls wait. A revision
// replaces the old one only once it is ready. An idle replica stops after keep_alive, or earlier
// when its memory is needed (least recently used first); one with a call in flight is never
// stopped, but when others have waited for its memory it gets no new calls. A failed start is
// remembered for a few seconds, so that a broken model cannot cause a storm of loads.
//
// A replica serves one cache domain: its first grant binds it. Calls of a domain that no replica
// serves start one of their own, within scale.max; beyond it an idle replica of another domain
// goes.
//
// Several revisions may serve side by side, each with its share of the calls; a call waits for a
// replica of the one that was chosen for it.
//
// An engine that can sleep does so before its replica stops; a call for it wakes it rather than
// starts another.
//
// Where the manifest allows it, a replica is forked from a template, which is loaded once for all
// revisions that run the same model in the same way and stays when the last replica has gone,
// within a budget. A fork that fails is followed by a start without a template. Behind a start a
// spare is made: a replica that belongs to no function until the next start takes it.
//
// While calls come, a revision's autoscaler is asked every two seconds how many replicas it wants.
//
// Thread: one owner, the server loop. Does not persist, meter or speak HTTP.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/time_types.h"
#include "base/units.h"
#include "control/effects.h"
#include "control/events.h"
#include "control/scaling.h"
#include "control/views.h"
#include "policy/evictor.h"
#include "policy/memory_ledger.h"
#include "policy/schedule.h"
#include "policy/spares.h"
#include "policy/templates.h"
#include "policy/traffic.h"

namespace glowplug::control {

struct BrainOptions {
  std::uint64_t memory_bytes = 0;    // that replicas and templates may reserve together
  std::uint64_t template_bytes = 0;  // of it, for templates without a replica; 0 = no templates
  int spares = 1;                    // behind each template whose functions were called lately
  int cores = 1;
  int scale_speed = 1;  // of the autoscalers' clock: above 1 it runs faster than time
};

class Brain final {
 public:
  explicit Brain(BrainOptions options) : options_(options), scale_clock_(options.scale_speed) {}

  // `wall` is what schedules go by.
  Effects handle(const Event& event, Time now, WallTime wall = {});

  std::vector<FunctionView> functions() const;
  std::optional<FunctionView> function(const std::string& name) const;
  std::optional<FunctionStatus> status(const std::string& name) const;
  // What a granted call is answered by.
  std::optional<GenerationView> generation(const std::string& name, int revision) const;
  std::uint64_t reserved_bytes() const;
  std::size_t replicas() const { return replicas_.size(); }
  std::size_t templates() const { return templates_.size(); }

 private:
  enum class Model { Absent, Preparing, Prepared, Failed };
  enum class Sleep { Awake, Falling, Asleep, Waking, Failed };  // drawn in brain_sleep.cc

  struct Failure {
    Error error;
    Time forgotten_at{};
  };
  struct Learned {
    domain::LearnedPrime prime;
    Time since{};
  };
  // One revision of a function with what is known of its model.
  struct Generation {
    domain::Manifest manifest;
    int revision = 0;
    Model model = Model::Absent;
    domain::ModelFacts facts;
    double progress = 0;
    std::string phase;
    Time prepare_began{}, prepare_ended{};
    Duration verified{};        // at its end
    bool fetched = false;       // while it was prepared
    bool resident = false;      // in the page cache, as last measured
    bool read_wanted = false;   // into it, once the model is prepared
    int weight = 100;           // of 100 calls
    std::int64_t gathered = 0;  // see policy::Share
    std::optional<Failure> failure;
    bool ready_once = false;
    // Since its last replica that became ready:
    bool forks_fail = false;
    int starts_killed = 0;
    Time sleep_not_before{};            // after a replica that did not fall asleep
    Time prime_not_before{};            // after a primed template that did not come to be, or went
    std::vector<Learned> learned = {};  // at most one of a domain, the latest first
    Duration start_time{};              // of its last replica, or wake
    Duration load_time{};               // of the template that it came from
    std::unique_ptr<Scaling> scaling = {};  // while there is something to decide by
  };
  // What takes over at once: `fresh` is started first, the rest of the shares serves already.
  struct Rollout {
    std::vector<Generation> fresh;
    std::vector<policy::Share> shares;  // the largest weight first
  };
  struct Waiting {
    domain::CallId call;
    int weight = 1;
    Time arrived{}, deadline{};
    domain::CacheDomain caller;
    domain::CacheDomain domain = {};  // the caller's, where the generation keeps them apart
    int revision = 0;                 // that was chosen for it
  };
  struct Function {
    Generation current;              // of a split the heaviest
    std::vector<Generation> beside;  // that serve beside it
    std::optional<Rollout> next;     // deployed, not yet serving
    std::deque<Waiting> waiting;
    std::string note;       // why the last deploy did not take over
    Duration keep_alive{};  // of the next idle period
    int warm_count = 0;
    std::optional<Time> warm_until;
    std::optional<Time> template_until;  // a preload holds it
    std::uint64_t calls = 0, cold_starts = 0;
  };
  // What is known of a process's memory; what is reserved of it stands beside.
  struct Account {
    std::string key = {};  // empty: nothing is learned of it
    policy::MemoryNeed need = {};
    policy::MemorySeen seen = {};
    bool worked = false;          // since it was last measured
    std::uint64_t inherited = 0;  // of its template, which is gone
  };
  struct Replica {
    std::string function;  // empty while it is a spare
    int revision = 0;
    domain::State state = domain::State::Loading;
    int slots = 1, in_flight = 0;  // in_flight counts weights
    int threads = 1;
    std::uint64_t memory_bytes = 0;
    Account account;
    double progress = 0;
    std::string sandbox;
    bool was_spare = false;
    std::optional<domain::CacheDomain> domain;    // bound by its first grant
    std::optional<domain::CacheDomain> made_for;  // forked with what was learned of this domain
    const std::optional<domain::CacheDomain>& serves() const { return domain ? domain : made_for; }
    bool kept = false;     // its prompt state, since it was last used
    bool retired = false;  // see policy/scale_down.h
    int granted = 0;       // calls
    Time load_wants_it_until{};
    std::optional<domain::ProcessId> from;    // the template; it may be gone
    std::optional<domain::ProcessId> base;    // the same, or what that was forked from
    Time load_began{}, load_ended{};          // the template's
    bool from_memory = false;                 // its file, or its template's, was resident
    std::optional<std::uint64_t> bytes_read;  // by its load, or its template's
    Time started{}, ready{}, idle_since{}, last_used{};
    Sleep sleep = Sleep::Awake;
    Time wake_began{}, awake{};  // the last time it was woken
    bool is_spare() const { return function.empty(); }
    bool shares_pages_of(domain::ProcessId origin) const {
      return from == origin || base == origin;
    }
    bool takes_calls() const { return state == domain::State::Ready && sleep == Sleep::Awake; }
    // Between awake and asleep: what becomes of it is decided once that is over.
    bool is_turning() const { return sleep == Sleep::Falling || sleep == Sleep::Waking; }
    bool is_resting() const {
      return state == domain::State::Ready && in_flight == 0 && !is_spare() && !is_turning();
    }
    domain::State shown_state() const;
  };
  // A base template, or one that was forked from it and primed: with its manifest's primes, or with
  // a learned one.
  struct Template {
    domain::Manifest manifest;  // of whoever needed it first
    std::optional<domain::ProcessId> base;
    bool is_primed() const { return base.has_value(); }
    std::optional<domain::LearnedPrime> learned;  // primed with this instead
    domain::ModelFacts facts;
    domain::State state = domain::State::Loading;  // Draining: killed, not yet gone
    std::uint64_t bytes = 0;
    Account account;
    double progress = 0;
    int child_deaths = 0;
    bool from_memory = false;  // its file was resident when it was loaded
    std::optional<std::uint64_t> bytes_read;
    Time started{}, ready{}, last_used{}, spare_not_before{};
  };
  struct Call {
    std::string function;
    std::optional<domain::ProcessId> replica;  // set once granted
    int weight = 1;
  };
  using ReplicaEntry = std::pair<const domain::ProcessId, Replica>;
  using TemplateEntry = std::pair<const domain::ProcessId, Template>;
  // Cache domains with a call that waits and no replica, neither there nor on its way.
  struct Unserved {
    int domains = 0;
    std::optional<Time> since;                 // the oldest of these calls
    std::optional<domain::CacheDomain> first;  // its domain
  };
  enum class Idle { NoReplica, NoWork };  // of a template: has no replica, or only idle ones
  using Domains = std::set<domain::CacheDomain>;
  struct Room {
    int replicas = 0;
    std::string why_not_more;  // where it is fewer than are wanted
  };

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
  void grant_waiting(const std::string& name, Function& function);
  void start_what_is_wanted();
  void ensure_started(const std::string& name, Function& function, Generation& generation);
  void start_replica(const std::string& name, const Generation& generation, std::uint64_t bytes,
                     TemplateEntry* from);
  bool make_room(const std::string& name, const Generation& generation, std::uint64_t bytes,
                 std::optional<domain::ProcessId> template_kept = {});
  std::vector<policy::EvictionCandidate> stoppable_replicas() const;
  bool evict(const std::string& name, std::uint64_t bytes,
             std::optional<domain::ProcessId> template_kept);
  void stop_idle();
  void drain(ReplicaEntry& entry, const std::string& reason);
  std::optional<Time> next_wake() const;

  // brain_traffic.cc: which generation takes a call, and how one set of them replaces another.
  template <typename Visit>
  static void each_serving(Function& function, const Visit& visit);
  template <typename Visit>
  static void each_serving(const Function& function, const Visit& visit);
  template <typename Visit>
  static void each_generation(Function& function, const Visit& visit);  // also of the next
  template <typename Visit>
  static void each_generation(const Function& function, const Visit& visit);
  static Generation* serving_generation(Function& function, int revision);
  static const Generation* serving_generation(const Function& function, int revision);
  static const Generation* coming_generation(const Function& function, int revision);
  static std::vector<policy::Share> shares_of(const Function& function);
  bool cannot_start(const Generation& generation) const;
  void create(const TrafficSet& event);
  void prepare_serving(const std::string& name, Function& function);
  void replace(const std::string& name, Function& function,
               const std::vector<TrafficSet::Served>& served);
  bool relabel(const std::string& name, Function& function, const TrafficSet::Served& served);
  Generation& choose_generation(Function& function, Waiting& waiting);
  Generation* stand_in(Function& function) const;
  static void assign(Waiting& waiting, const Generation& generation);
  void fall_back(const std::string& name, Function& function, const Generation& failed);
  void fail_coming(Function& function, Generation& generation, const Error& error);
  bool is_cold(const std::string& name, const Function& function) const;
  bool takes_over(const std::string& name, const Function& function) const;
  void adopt_ready();
  void adopt_next(const std::string& name, Function& function);
  void ensure_next_started(const std::string& name, Function& function);

  // brain_domains.cc: a replica for each cache domain that calls.
  ReplicaEntry* best_replica(const std::string& name, const Waiting& waiting);
  bool has_replica(const std::string& name, const Waiting& waiting) const;
  void bind(ReplicaEntry& entry, const domain::CacheDomain& domain);
  Unserved unserved(const std::string& name, const Generation& generation) const;
  bool serves_waiting(const std::string& name, const Function& function,
                      const Replica& replica) const;
  void make_place(const std::string& name, const Generation& generation);
  void keep_idle_state();
  std::optional<Time> keep_time_of(const Replica& replica) const;

  // brain_templates.cc
  TemplateEntry* template_of(const Generation& generation);
  const TemplateEntry* template_of(const Generation& generation) const;
  TemplateEntry* primed_of(const Generation& generation);
  // From which a replica would be forked now: the primed one once it is ready, else the base.
  TemplateEntry* origin_of(const Generation& generation);
  const TemplateEntry* origin_of(const Generation& generation) const;
  bool is_origin(const TemplateEntry& entry) const;  // of some generation
  static bool may_use(const Template& held, const Generation& generation);
  void prime_templates();
  void prime(const std::string& name, const Generation& generation);
  void fork_template(const std::string& name, const Generation& generation, Template primed,
                     const std::string& with);
  void primed_gone(const Template& gone, const std::string& cause);
  bool is_computing() const;
  bool may_fork(const Generation& generation) const;
  bool fork_or_load(const std::string& name, const Generation& generation);
  void load_template(const std::string& name, const Generation& generation, std::uint64_t bytes);
  void start_template(domain::ProcessId id, Template made, int revision);
  void template_ready(TemplateEntry& entry);
  void template_gone(const ProcessGone& event);
  bool tries_again(const std::string& name, Generation& generation, Ending ending);
  void note_child_end(const Replica& replica, Ending ending);
  bool is_awaited(const Template& held) const;
  void drop_template(TemplateEntry& entry, const std::string& reason);
  void drop_unused_templates();
  void keep_templates_within_budget();
  std::vector<policy::IdleTemplate> idle_templates(Idle idle) const;
  std::vector<domain::ProcessId> drop_order(const std::vector<policy::IdleTemplate>& idle) const;

  // brain_learned.cc
  static bool has_learned(const Generation& generation, const domain::LearnedPrime& prime);
  TemplateEntry* learned_of(const Generation& generation, const domain::CacheDomain& domain);
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
  std::optional<Time> hold_wake() const;
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
  std::uint64_t forked_bytes(const policy::TemplateSource& source) const;
  std::uint64_t template_bytes(const policy::TemplateSource& source) const;
  std::uint64_t loading_bytes(const policy::TemplateSource& source) const;
  static Account account_of(policy::MemoryKind kind, const policy::TemplateSource& source,
                            int revision);
  void measured(ReplicaEntry& entry, const MemoryMeasured& event);
  void measured(TemplateEntry& entry, const MemoryMeasured& event);
  void note_learned(const std::string& label, const Account& account, int samples);
  void reserve(std::uint64_t& bytes, std::uint64_t needed, const std::string& label,
               const std::string& who, std::uint64_t holds);
  bool is_ready(domain::ProcessId template_id) const;
  void raise(std::uint64_t& bytes, std::uint64_t holds, const std::string& label,
             const std::string& who);
  bool inherit(domain::ProcessId origin, std::uint64_t bytes);
  void pass_on(const Replica& heir);
  enum class Leaving { Now, WhenDone };  // WhenDone: also what has calls in flight still
  std::uint64_t leaving_bytes(Leaving when) const;
  void relieve_memory();

  // brain_scaling.cc: how many replicas load asks for.
  void note_arrival(const std::string& name, Generation& generation);
  void note_request(Generation& generation, policy::Start start);
  void note_load(const std::string& name, Function& function);
  void ask_at(const std::string& name, Scaling& scaling, Time at);
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
  Room room_to_grow(const std::string& name, const Generation& generation, int wanted) const;
  void retire(const std::string& name, const Generation& generation, int surplus);
  void hold_what_load_wants(const std::string& name, const Function& function,
                            Generation& generation);
  static bool grows(const Generation& generation);
  static int ahead_of_calls(const Generation& generation);
  std::optional<ScaleView> scale_view(const Generation& generation) const;
  template <typename Visit>
  void each_replica(const std::string& name, int revision, const Visit& visit);
  template <typename Visit>
  void each_replica(const std::string& name, int revision, const Visit& visit) const;

  // brain_spares.cc
  bool hand_over(const std::string& name, const Generation& generation, const TemplateEntry& from);
  void make_spares();
  void stop_spares(domain::ProcessId of, const std::string& reason);
  void stop_unwanted_spares();
  void spare_gone(const Replica& spare);
  int spares_of(domain::ProcessId id) const;
  policy::SpareDemand spare_demand(const Template& held) const;
  std::optional<Time> spare_wake() const;

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
  Generation* generation_of(const std::string& name, int revision);
  Function* find(const std::string& name);
  int wanted_replicas(const std::string& name, const Function& function,
                      const Generation& generation) const;
  int held_warm(const Function& function, const Generation& generation) const;
  int live_replicas(const std::string& name, int revision) const;
  std::optional<Time> stop_time_of(const Replica& replica) const;
  RevisionStatus status_of(const std::string& name, const Generation& generation) const;
  FunctionStatus status_of(const std::string& name, const Function& function) const;
  FunctionView view(const std::string& name, const Function& function) const;

  BrainOptions options_;
  std::map<std::string, Function> functions_;
  std::map<domain::ProcessId, Replica> replicas_;
  std::map<domain::CallId, Call> calls_;
  std::map<domain::ProcessId, Template> templates_;
  std::uint64_t last_process_ = 0;
  std::deque<std::string> recalled_;  // whose templates are still to be loaded
  std::uint64_t set_aside_bytes_ = 0;
  std::map<std::string, policy::MemoryHistory> memory_;  // by kind of process
  bool draining_ = false;
  std::map<std::string, std::set<domain::ProcessId>> replicas_of_;  // by function
  ScaleClock scale_clock_;
  std::multiset<std::pair<Time, std::string>> asked_at_;  // when whose autoscaler is
  std::optional<Time> wake_;                              // as last told

  Time now_{};                     // of the event being handled
  WallTime wall_{};                // the same
  std::string grown_;              // whose reservation was raised in this turn
  bool short_of_room_ = false;     // somebody waits for memory, as seen in this turn
  std::set<std::string> touched_;  // functions with calls that came or went in this turn
  Effects effects_;                // of the event being handled
};

}  // namespace glowplug::control

#include "control/brain_each.h"
