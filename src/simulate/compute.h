// All that takes cores at once: engines that work and models that load. Where they want more
// threads together than there are cores, all become slower alike.
//
//   speed = min(1, cores / threads that are wanted now)
//
// One clock of work runs for all of them, by seconds × speed; what is due is ordered by it, so that
// a change of speed moves no entry.
//
// Thread: one owner.
#pragma once

#include <map>
#include <optional>
#include <queue>
#include <vector>

#include "base/time_types.h"
#include "domain/ids.h"
#include "simulate/replica_engine.h"

namespace glowplug::simulate {

class Compute final {
 public:
  explicit Compute(int cores) : cores_(cores) {}

  void begin(Time now) { now_ = now; }  // before anything else
  void load(domain::ProcessId process, double work_s, int threads, Time now);
  // `speed`: over what was measured of the profile, with all its threads.
  void open(domain::ProcessId process, const ModelProfile& profile, int threads, Time now,
            double speed = 1);
  // From now on; nothing where it is not open.
  void set_threads(domain::ProcessId process, int threads, Time now);
  void run(domain::ProcessId process, const ReplicaEngine::Job& job, Time now);
  bool drop(domain::ProcessId process, domain::CallId call, Time now);
  // It does nothing until it is let go on; also while it loads.
  void stall(domain::ProcessId process, Time now);
  void go_on(domain::ProcessId process, Time now);
  // The same, by order: it works when it is neither stalled nor frozen.
  void freeze(domain::ProcessId process, bool frozen, Time now);
  std::vector<domain::CallId> close(domain::ProcessId process, Time now);  // what ran on it

  enum class Due { Loaded, FirstToken, Done };
  struct Happening {
    domain::ProcessId process;
    Due due = Due::Loaded;
    domain::CallId call = {};
  };
  // Not later than a year from now, even where nothing is due by then.
  std::optional<Time> next();
  std::optional<Happening> take(Time now);  // what is due by now, one at a time

  double busy_core_seconds() const { return busy_core_seconds_; }
  int threads_wanted() const { return wanted_; }

 private:
  struct Task {
    std::optional<ReplicaEngine> engine;  // none: it loads
    double load_left_s = 0;
    double speed = 1;  // over what was measured, with all its threads
    double pace = 1;   // work of its own for each second of work: threads over those measured
    int threads = 1;   // wanted while it works
    int threads_measured = 0;
    double at = 0;           // of work_, up to which it has advanced
    std::uint64_t turn = 0;  // entries of an earlier one are void
    bool stalled = false, frozen = false;
    bool works = false;
  };
  struct Entry {
    double due = 0;
    std::uint64_t order = 0;
    domain::ProcessId process;
    std::uint64_t turn = 0;
    bool operator>(const Entry& other) const {
      return due != other.due ? due > other.due : order > other.order;
    }
  };

  double speed() const;
  static void use_threads(Task& task, int threads);
  void set(domain::ProcessId process, bool Task::*obstacle, bool is_there, Time now);
  void move_to(Time now);
  void catch_up(Task& task);
  void schedule(domain::ProcessId process, Task& task);
  void forget_void();

  int cores_;
  std::map<domain::ProcessId, Task> tasks_;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> entries_;
  std::uint64_t orders_ = 0, turns_ = 0;
  int wanted_ = 0;
  double work_ = 0;  // seconds
  double busy_core_seconds_ = 0;
  Time now_{};
};

}  // namespace glowplug::simulate
