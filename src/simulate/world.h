// A machine in virtual time: carries the brain's effects out on modelled processes and tells it
// what came of them, as app/live_platform does with real ones.
//
//   requests ──CallArrived──▶ Controller (the brain) ──Effects──▶ World
//                 ▲                                                 │ processes, memory, cores
//                 └────── Event: ready, gone, ended, measured ◀─────┘
//
// Time jumps from one happening to the next. What is random comes from one seed; the same seed and
// the same requests give the same run to the byte.
//
// Thread: one owner. It decides nothing, checks nothing (simulate/checkers) and counts nothing
// (simulate/totals).
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/events.h"
#include "policy/measure_schedule.h"
#include "simulate/compute.h"
#include "simulate/controller.h"
#include "simulate/memory_book.h"
#include "simulate/observer.h"
#include "simulate/page_cache_model.h"
#include "simulate/random.h"
#include "simulate/request.h"
#include "simulate/timeline.h"
#include "simulate/world_model.h"

namespace glowplug::simulate {

// What a run adds to the traffic.
struct WorldOptions {
  std::uint64_t seed = 1;
  double leave_chance = 0;  // that a caller does not wait for ever, but this long on average:
  Duration patience = std::chrono::seconds(20);
  WallTime wall{};  // at the beginning
  // How long a function's replica stays after a call that comes now; null = as its manifest says.
  std::function<Duration(std::uint32_t function)> keep_alive = nullptr;
};

control::BrainOptions brain_options(const WorldModel& model);

class World final {
 public:
  World(WorldModel model, WorldOptions options, Controller& controller);

  void watch(Observer& observer) { observers_.push_back(&observer); }

  // Its model's file is on the disk. A name that is there already is deployed anew.
  std::uint32_t deploy(const std::string& name);
  std::uint32_t deploy(const domain::Manifest& manifest);
  std::optional<std::uint32_t> find(const std::string& name) const;
  // This one beside what serves, with `weight` of 100 calls.
  void split(std::uint32_t function, const domain::Manifest& other, int weight);
  void arrive(const Request& request);  // now; `at` is not looked at
  // What happens to the world from outside: operators, faults.
  void post(control::Event event);
  void post_at(Time at, control::Event event);
  void do_at(Time at, std::function<void()> act);

  Time now() const { return now_; }
  std::optional<Time> next();  // the next happening; nothing when all is still
  void run_until(Time until);  // and all that is due by then
  std::size_t calls_open() const { return open_; }

  // Faults (world_faults.cc). Each returns false where there is nothing to do it to.
  enum class Death { Itself, Killed, OutOfMemory };
  bool crash(domain::ProcessId process, Death death, const std::string& cause);
  bool stall(domain::ProcessId process, Duration length);
  // A replica holds more than was foreseen, for the rest of its life.
  bool outgrow(domain::ProcessId process, std::uint64_t bytes);
  void fail_starts(std::uint32_t function, int count) { functions_.at(function).failing = count; }
  void fail_prepares(int count) { prepares_failing_ = count; }
  void slow_disk(double factor) { disk_factor_ = factor; }
  void drop_page_cache() { page_cache_ = PageCacheModel(model_.machine.page_cache_bytes); }
  void lose_model(std::uint32_t function);
  // The next requests of a function kill whatever runs them; or all of them do, until it is off.
  void poison(std::uint32_t function, int requests) { functions_.at(function).poison = requests; }
  void set_deadly(std::uint32_t function, bool deadly) { functions_.at(function).deadly = deadly; }
  void step_wall(std::chrono::milliseconds by) { wall_offset_ += by; }
  // Starts on it fail for so long.
  void break_device(domain::DeviceId device, Duration length) { broken_[device] = now_ + length; }
  void mend_devices() { broken_.clear(); }
  // Of the news of processes and calls: each is late, lost or doubled with these chances.
  struct Post {
    double late = 0, lost = 0, doubled = 0;
    int copies = 1;                              // of what is doubled
    Duration late_by = std::chrono::seconds(1);  // on average
  };
  void set_post(const Post& post) { post_ = post; }

  // For whoever picks a victim: in the order of their numbers.
  enum class Kind { Replica, Template };
  std::vector<domain::ProcessId> processes(Kind kind) const;
  const std::string& name_of(std::uint32_t function) const { return functions_.at(function).name; }
  std::size_t functions() const { return functions_.size(); }
  const domain::Manifest& manifest(std::uint32_t function) const {
    return functions_.at(function).manifest;
  }
  int revision(std::uint32_t function) const { return functions_.at(function).revision; }
  std::size_t process_count() const { return processes_.size(); }
  const std::vector<domain::Device>& devices() const { return fleet_; }  // each alone
  int threads_wanted() const { return here_.threads_wanted(); }
  double busy_core_seconds() const { return here_.busy_core_seconds(); }

 private:
  struct Function {
    std::string name;
    domain::Manifest manifest;
    domain::ModelFacts facts;
    const ModelProfile* profile = nullptr;
    int revision = 0;       // that the manifest is of
    int last_revision = 0;  // a split has another beside it
    int failing = 0;        // so many of its next starts fail
    int poison = 0;         // so many of its next requests kill
    bool deadly = false;    // all of them do, while they run
    bool on_disk = true;
    std::deque<domain::CallId> granted = {};  // those that ended are left out when they come first
    bool deadline_watched = false;            // of the first of them
  };
  enum class Stage { Loading, Ready, Stopping };
  struct Process {
    control::Role role = control::Role::Replica;
    const ModelProfile* profile = nullptr;
    std::uint64_t context = 0;  // tokens of all slots
    std::optional<domain::ProcessId> from;
    std::vector<domain::DeviceId> devices = {};
    Stage stage = Stage::Loading;
    int threads = 1;
    std::uint32_t function = 0;  // whose manifest it was started with
    double load_s = 0;           // of work, once the file is read
    bool is_fork = false;
    std::uint64_t read_bytes = 0;   // from the disk, to load
    std::uint64_t fixed_bytes = 0;  // that it holds whatever it does, once it is ready
    std::uint64_t tokens = 0;       // of its context that were ever used
    std::uint64_t tokens_now = 0;   // by what runs on it
    std::uint64_t outgrown = 0;     // by a fault
    std::uint64_t unforeseen = 0;   // more than whoever reserves expects before one was measured
    Duration first_call{};          // more for its next call
    std::uint64_t turn = 0;         // of its happenings, those of an earlier turn are void
    int calls = 0;
    bool answered = false;
  };
  enum class CallStage { Waiting, Running };
  struct Call {
    CallResult result;
    CallStage stage = CallStage::Waiting;
    domain::ProcessId replica;
    int revision = 0;    // that answers it
    bool kills = false;  // whatever runs it
    bool again = false;  // its first replica broke off
    domain::CacheDomain domain = {};
  };
  struct Happening {
    enum class What {
      Leave,
      TimeOut,
      Post,
      Do,
      Load,
      Ready,
      Fail,
      Gone,
      InVain,
      Asleep,
      Awake,
      GoOn,
      Kill  // by the call
    };
    What what;
    std::uint64_t id = 0;
    std::uint64_t turn = 0;
  };

  // On this machine's cores, or on devices that have their own.
  Compute& compute_of(const Process& process) { return process.devices.empty() ? here_ : beside_; }
  bool is_broken(const Process& process) const;
  void happen(const Happening& happening);
  void happen(const Compute::Happening& happening);
  void turn_of_brain();
  WallTime wall() const;
  Duration shaken(Duration typical);
  void tell(control::Event event);  // news, which may be late, lost or doubled
  void at(Duration after, Happening happening) { timeline_.put(now_ + after, happening); }

  // world_calls.cc
  void carry_out(const control::GrantCall& effect);
  void carry_out(const control::RefuseCall& effect);
  void leave(domain::CallId id);
  void watch_deadline(std::uint32_t function, domain::CallId call);
  void time_out(std::uint32_t function);
  void first_token(domain::CallId id);
  void finish(domain::CallId id, CallOutcome outcome);
  void close(domain::CallId id, CallOutcome outcome);
  void arrive(domain::CallId id, const Call& call, std::optional<domain::CallId> retry_of);
  void try_again(domain::CallId id);
  void kill_by(domain::CallId id);
  void drop(domain::CallId id);
  Call* find_call(domain::CallId id);

  // world_processes.cc
  void carry_out(const control::PrepareModel& effect);
  void carry_out(const control::ReadModel& effect);
  void carry_out(const control::StartProcess& effect);
  void carry_out(const control::AssignReplica& effect);
  void carry_out(const control::SleepReplica& effect);
  void carry_out(const control::WakeReplica& effect);
  void carry_out(const control::SetThreads& effect);
  void carry_out(const control::FreezeReplica& effect);
  void carry_out(const control::StopProcess& effect);
  void carry_out(const control::KillProcess& effect);
  void carry_out(const control::BindReplica&) {}
  void carry_out(const control::KeepState&) {}
  void carry_out(const control::MemoryLearned&) {}
  void carry_out(const control::Decision&) {}
  Function* function_named(const std::string& name);
  void hold(domain::ProcessId id, Process& process, const control::StartProcess& effect);
  void begin(domain::ProcessId id, Process& process, const control::StartProcess& effect);
  void load(domain::ProcessId id, Process& process);  // its file is in memory
  void loaded(domain::ProcessId id);
  void await_in_vain(domain::ProcessId id);  // what it said did not come through
  void gone(domain::ProcessId id, const std::string& cause, control::Ending ending);
  void end_after(domain::ProcessId id, Duration after);
  void after(domain::ProcessId id, Process& process, Duration delay, Happening::What what);
  void use_context(domain::ProcessId id, Process& process);
  void set_held(domain::ProcessId id, const Process& process, std::uint64_t bytes);
  enum class Count { In, Out };
  void count_on_devices(domain::ProcessId id, const Process& process, Count how);
  void see(Process& process);
  void measure();
  void schedule_measure() { measure_at_ = measuring_.next(); }

  WorldModel model_;
  WorldOptions options_;
  Controller& controller_;
  std::vector<Observer*> observers_;
  Random random_;  // of everything that the model makes uncertain
  std::vector<Function> functions_;
  std::map<std::string, std::uint32_t> by_name_;
  std::map<domain::ProcessId, Process> processes_;
  std::deque<std::optional<Call>> calls_;  // from first_call_ on, by number
  std::uint64_t first_call_ = 1, last_call_ = 0;
  std::size_t open_ = 0;
  std::map<domain::CallId, domain::CallId> retries_;  // of calls that are open, by their first try
  std::deque<control::Event> events_;                 // waiting for their turn
  bool handling_ = false;
  Timeline<Happening> timeline_;
  std::map<std::uint64_t, control::Event> posts_;        // of Happening::What::Post
  std::map<std::uint64_t, std::function<void()>> acts_;  // of Happening::What::Do
  std::uint64_t last_post_ = 0, turns_ = 0;
  std::vector<domain::Device> fleet_;
  std::vector<HeldOnDevice> on_devices_;
  std::map<domain::DeviceId, Time> broken_;  // until then
  Compute here_, beside_;
  MemoryBook memory_;
  PageCacheModel page_cache_;
  policy::MeasureSchedule measuring_;
  std::optional<Time> measure_at_;
  std::optional<Time> wake_at_;
  std::uint64_t reserved_ = 0, outgrown_ = 0, unforeseen_ = 0;
  int prepares_failing_ = 0;
  int wakes_at_once_ = 0;
  double disk_factor_ = 1;
  std::chrono::milliseconds wall_offset_{};
  Post post_;
  Time now_;
};

}  // namespace glowplug::simulate
