// What the brain knows of functions, replicas, templates and calls: the kinds of its values. It is
// a base of the brain, which thereby has these words as its own; the values, and what is done with
// them, are in brain.h.
//
// Thread: values of the brain's.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/time_types.h"
#include "control/crash_record.h"
#include "control/scaling.h"
#include "domain/cache_domain.h"
#include "domain/ids.h"
#include "domain/job.h"
#include "domain/learned_prime.h"
#include "domain/manifest.h"
#include "domain/model_facts.h"
#include "domain/replica_state.h"
#include "policy/affinity.h"
#include "policy/allocator.h"
#include "policy/batch_freeze.h"
#include "policy/budget.h"
#include "policy/cores.h"
#include "policy/evictor.h"
#include "policy/fair_shares.h"
#include "policy/memory_ledger.h"
#include "policy/retry_budget.h"
#include "policy/scheduler.h"
#include "policy/traffic.h"
#include "policy/wait_forecast.h"

namespace glowplug::control {

struct BrainState {
  enum class Model { Absent, Preparing, Prepared, Failed };
  enum class Sleep { Awake, Falling, Asleep, Waking, Failed };  // drawn in brain_sleep.cc

  struct Failure {
    Error error;
    Time forgotten_at{};
  };
  // After a crash loop no call is taken for a while, then one alone, until one is answered. It is
  // in force while in_a_row > 0.
  struct Quarantine {
    int in_a_row = 0;
    std::optional<domain::CallId> probe = {};  // the call that is let through
    std::string why = {};
  };
  struct Learned {
    domain::LearnedPrime prime;
    Time since{};
  };
  // What was worked out, and of which state of the brain: see Brain::known().
  template <typename Value>
  struct Known {
    std::uint64_t state = 0;
    Value value = {};
  };
  // What is known of a process's memory; what is reserved of it stands beside.
  struct Account {
    std::string key = {};  // empty: nothing is learned of it
    policy::MemoryNeed need = {};
    policy::MemorySeen seen = {};
    bool worked = false;          // since it was last measured
    std::uint64_t inherited = 0;  // of its template, which is gone
  };
  // Of the processes that one revision runs in.
  struct Accounts {
    Account executed, forked, held;  // held: its template
  };
  // Where a revision may be placed, by its manifest, its model's facts and these.
  struct Places {
    std::uint64_t bytes = 0;
    policy::Demand demand = policy::Demand::Usual;
    Result<std::vector<policy::Placement>> found;
  };
  // Cache domains with a call that waits and no replica, neither there nor on its way.
  struct Unserved {
    int domains = 0;
    std::optional<Time> since;                 // the oldest of these calls
    std::optional<domain::CacheDomain> first;  // its domain
    bool beside = false;  // a call that must have a replica to itself finds all of them busy
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
    int failures = 0;  // since one of its replicas was ready
    Quarantine quarantine = {};
    int answered = 0;  // see policy::Suspicion
    bool ready_once = false;
    // Since its last replica that became ready:
    bool forks_fail = false;
    int starts_killed = 0;
    std::optional<policy::Placement> placement = {};  // once its model is prepared; no devices
    Time sleep_not_before{};                          // after a replica that did not fall asleep
    Time prime_not_before{};            // after a primed template that did not come to be, or went
    std::vector<Learned> learned = {};  // at most one of a domain, the latest first
    Duration start_time{};              // of its last replica, or wake
    Duration began_in{};                // of its last replica alone
    policy::ServiceTime service = {};   // of its answers, also of those that were stopped
    Duration load_time{};               // of the template that it came from
    std::unique_ptr<Scaling> scaling = {};          // while there is something to decide by
    mutable std::optional<Accounts> accounts = {};  // see accounts_of()
    mutable std::optional<Places> places = {};      // see Brain::placements()
    mutable Known<Unserved> unserved = {};
    void set_manifest(domain::Manifest other);
    void set_facts(domain::ModelFacts found);
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
    bool alone = false;               // a replica died while it ran: the next has nothing else
    domain::PromptLinks prompt = {};
    domain::JobUrgency urgency = domain::JobUrgency::Interactive;
  };
  struct Function {
    std::optional<Time> timer;          // see timers_
    Generation current;                 // of a split the heaviest
    std::vector<Generation> beside;     // that serve beside it
    std::optional<Rollout> next;        // deployed, not yet serving
    std::deque<Waiting> waiting;        // the oldest first
    Time first_deadline = Time::max();  // of those that wait
    void note_left();                   // some of them
    std::string note;                   // why the last deploy did not take over
    Duration keep_alive{};              // of the next idle period
    int warm_count = 0;
    std::optional<Time> warm_until;
    std::optional<Time> template_until;  // a preload holds it
    std::optional<Time> turn;            // when a busy replica may make room for it
    std::string gave_way_to;             // whose turn it is, before another start of its own
    Time gave_way{};
    bool told_budget = false;  // that its calls wait for one
    std::uint64_t calls = 0, cold_starts = 0;
    policy::CallRate rate;
    std::optional<Time> last_ended;  // of its calls, until the next comes after a pause
    policy::Pauses pauses = {};
    policy::Visits visits = {};
    policy::FairShares shares = {};
    policy::RetryBudget retries = {};
    CrashRecord crashes = {};
  };
  struct Replica {
    std::string function;  // empty while it is a spare
    int revision = 0;
    domain::State state = domain::State::Loading;
    int slots = 1, in_flight = 0;  // in_flight counts weights
    int threads = 1;
    policy::Computes computes = policy::Computes::HereShared;
    bool is_batch = false;                     // it yields cores to others
    std::optional<policy::FreezeBook> freeze;  // while it has batch work
    bool follows = false;  // its neighbours: it can be told other threads while it works
    std::uint64_t memory_bytes = 0;
    domain::Money per_hour = {};       // what its devices cost
    bool pretends = false;             // a declared device stands for its memory
    std::uint64_t host_bytes() const;  // of this machine's
    Account account;
    double progress = 0;
    std::string sandbox;
    bool was_spare = false;
    std::optional<domain::CacheDomain> domain;    // bound by its first grant
    std::optional<domain::CacheDomain> made_for;  // forked with what was learned of this domain
    const std::optional<domain::CacheDomain>& serves() const { return domain ? domain : made_for; }
    policy::HeldPrompts prompts;
    bool kept = false;     // its prompt state, since it was last used
    bool retired = false;  // see policy/scale_down.h
    int granted = 0;       // calls
    bool alone = false;    // what it runs must have it to itself
    bool clears = false;   // while calls are granted: it gets no other before one that must
    std::vector<CallAboard> broke = {};  // calls whose answers it broke off
    int free_slots() const { return alone || clears ? 0 : slots - in_flight; }
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
    bool shares_cores() const { return follows || is_batch; }
    // It takes cores: a start does so with nothing in flight.
    bool works() const { return in_flight > 0 || (state == domain::State::Loading && !is_spare()); }
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
    policy::Visits visits = {};         // of all functions that use it
    std::string used_by;                // a function that was found to use it, most often still one
    std::uint64_t is_no_origin_at = 0;  // this state of deployments_; see is_origin()
  };
  struct Call {
    std::string function;
    std::optional<domain::ProcessId> replica;  // set once granted
    int weight = 1;
    Time granted{};
    std::string tenant = {};
    double charged = 0;  // slot-seconds, at the grant
    std::optional<domain::CallId> retry_of = {};
    bool blamed = false;  // for the replica that died of it
  };
  using ReplicaEntry = std::pair<const domain::ProcessId, Replica>;
  using TemplateEntry = std::pair<const domain::ProcessId, Template>;
  using FunctionEntry = std::pair<const std::string, Function>;
  struct ByName {
    bool operator()(const FunctionEntry* a, const FunctionEntry* b) const {
      return a->first < b->first;
    }
  };
  // A replica that may stop, and what the scheduler knows of it.
  struct Holder {
    const ReplicaEntry* entry = nullptr;
    policy::Resident resident;
  };
  // Of replicas: all, all but those that have nothing to do before they are gone, all that stay.
  enum class Counted { All, StayingAWhile, Staying };
  enum class Leaving { Now, WhenDone };  // WhenDone: also what has calls in flight still
  struct Memos {
    Known<std::vector<policy::Kept>> idle;
    Known<std::vector<Holder>> holders;
    Known<std::set<domain::ProcessId>> awaited;
    std::map<Leaving, Known<std::uint64_t>> leaving;
    std::map<Counted, Known<policy::Spend>> spent;
  };
  // Of one who starves, in a turn: what comes free of it is not for others.
  struct Claim {
    std::string by;
    std::uint64_t bytes = 0;
    domain::Money per_hour = {};
    std::vector<domain::DeviceId> devices = {};
  };
  struct Turn {
    std::string grown;                           // whose reservation was raised
    bool short_of_room = false;                  // somebody waits for memory
    std::set<domain::DeviceId> awaited_devices;  // by a call
    bool budget_is_awaited = false;              // of all, by a call
    bool room_is_awaited = false;  // a call does, or there is less than what runs holds
    std::vector<Claim> claims;     // the first to starve first
  };
  // What a function waits for that busy replicas have; of devices, one of these.
  enum class Scarce { Memory, Device, Money };
  struct Wanted {
    Scarce what = Scarce::Memory;
    std::vector<domain::DeviceId> devices = {};
  };
  enum class Idle { NoReplica, NoWork };  // of a template: has no replica, or only idle ones
  using Domains = std::set<domain::CacheDomain>;
  struct ByDomain {
    std::size_t operator()(const domain::CacheDomain* one) const {
      const std::hash<std::string> hash;
      return hash(one->tenant) ^ (hash(one->salt) << 1);
    }
    bool operator()(const domain::CacheDomain* a, const domain::CacheDomain* b) const {
      return *a == *b;
    }
  };
  using DomainRefs = std::unordered_set<const domain::CacheDomain*, ByDomain, ByDomain>;
  struct Room {
    int replicas = 0;
    std::string why_not_more;  // where it is fewer than are wanted
  };
};

}  // namespace glowplug::control
