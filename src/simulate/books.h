// The books that checkers share: what was told of each function, which replicas it has, which calls
// wait and run. Of what passes between brain and world alone; the brain is never asked. Each turn
// is entered once, before anybody looks.
//
// Thread: the world's.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "domain/cache_domain.h"
#include "domain/ids.h"
#include "domain/manifest.h"
#include "simulate/observer.h"

namespace glowplug::simulate {

class Books final {
 public:
  // Of a manifest, what rules go by.
  struct Revision {
    int number = 0;
    int least = 0, most = 1;  // replicas
    int queue = 0;
    domain::Priority priority = domain::Priority::Normal;
    bool keeps_apart = false;  // cache domains
  };
  struct Replica;
  struct Function {
    std::size_t number = 0;  // from 0, in the order in which they came
    std::string name;
    std::vector<Revision> told;      // that may serve: the latest, and older ones until it does
    std::vector<int> latest;         // of them, what is to serve
    std::vector<int> coming;         // of these, what is not known to be ready
    std::vector<Replica*> live;      // that were not asked to stop
    int replicas = 0;                // that are there at all
    int waiting = 0;                 // calls
    Time changed{};                  // its replicas or revisions, the last time
    Time undisturbed_from{};         // starts that failed are forgotten by then
    std::uint64_t changed_turn = 0;  // the turn of the same
    const Revision* find(int revision) const;
    int most() const;   // replicas of all that may serve
    int queue() const;  // the longest of them
    // One revision serves, and none is to come.
    bool is_settled() const { return told.size() == 1 && coming.empty(); }
  };
  enum class Stage { Loading, Ready, Falling, Asleep, Waking, Stopping };
  struct Replica {
    domain::ProcessId id;
    Function* function = nullptr;  // none: a spare
    int revision = 0;              // it was started as; 0 of what was a spare
    Stage stage = Stage::Loading;  // Loading also while it is handed over
    int in_flight = 0;             // weights
    int pressing = 0;              // of them, of what is not batch work
    bool frozen = false;
    std::optional<domain::CacheDomain> domain = {};
    Time worked_since{};               // while something is in flight at the end of each turn
    std::uint64_t idle_turn = 0;       // the last one in which its last call ended
    std::optional<Time> granted = {};  // the last time
    std::uint64_t granted_turn = 0;
    bool works() const {
      return function != nullptr && stage != Stage::Stopping &&
             (in_flight > 0 || stage == Stage::Loading);
    }
  };
  struct Call {
    domain::CallId id;
    Function* function = nullptr;
    domain::CacheDomain caller;
    int weight = 1;
    bool waits = false;     // it has not been answered in the turn in which it came
    bool waited = false;    // nor was it then
    bool pressing = false;  // it is granted, and no batch work
    Time arrived{};
    std::optional<Time> granted = {};
    std::optional<domain::ProcessId> replica = {};
  };
  // Of this turn.
  struct Grant {
    const Call* call = nullptr;
    const Replica* replica = nullptr;
    int revision = 0;
    bool is_first = false;  // of this replica
  };

  struct Freeze {
    const Replica* replica = nullptr;
    bool frozen = false;
  };

  void enter(const Turn& turn);

  std::uint64_t turns() const { return turns_; }
  const std::optional<domain::CallId>& held() const { return held_; }  // came, and waits
  const std::vector<Grant>& grants() const { return grants_; }
  const std::vector<Call>& ended() const { return ended_; }         // refused and left ones too
  const std::vector<Replica>& stopped() const { return stopped_; }  // as they were before
  const std::vector<Freeze>& freezes() const { return freezes_; }
  const std::vector<const Function*>& changed() const { return changed_; }

  const Call* find(domain::CallId id) const;
  const Replica* find(domain::ProcessId id) const;
  const Function* find(const std::string& name) const;
  int working() const { return working_; }  // replicas that compute, or load to do so
  int waiting() const { return waiting_; }  // calls, of all functions
  bool is_anything_coming() const { return coming_ > 0; }
  bool is_draining() const { return draining_; }
  bool is_memory_taken() const { return set_aside_ > 0; }  // by somebody else

 private:
  void on(const control::FunctionPut& event);
  void on(const control::TrafficSet& event);
  void on(const control::FunctionDeleted& event);
  void on(const control::ModelUnavailable& event);
  void on(const control::ModelLost& event);
  void on(const control::CallArrived& event);
  void on(const control::CallEnded& event) { end(event.call); }
  void on(const control::CallAbandoned& event) { end(event.call); }
  void on(const control::ProcessReady& event);
  void on(const control::ReplicaAssigned& event);
  void on(const control::ReplicaAsleep& event);
  void on(const control::ReplicaAwake& event);
  void on(const control::ProcessGone& event);
  void on(const control::MemorySetAside& event) { set_aside_ = event.bytes; }
  void on(const control::DrainStarted&) { draining_ = true; }
  void on(const control::StartProcess& effect);
  void on(const control::AssignReplica& effect);
  void on(const control::BindReplica& effect);
  void on(const control::SleepReplica& effect) { move(effect.replica, Stage::Falling); }
  void on(const control::WakeReplica& effect) { move(effect.replica, Stage::Waking); }
  void on(const control::FreezeReplica& effect);
  void on(const control::GrantCall& effect);
  void on(const control::RefuseCall& effect);
  void on(const control::StopProcess& effect) { stop(effect.process); }
  void on(const control::KillProcess& effect) { stop(effect.process); }
  template <typename Other>
  void on(const Other&) {}

  Function& function_named(const std::string& name);
  Replica* look_up(domain::ProcessId id);
  void tell(Function& function, std::vector<Revision> revisions);
  void take_over(Function& function, int revision);
  void add(Replica& replica, const std::string& function);
  void stop(domain::ProcessId id);
  void leave(Replica& replica);
  void move(domain::ProcessId id, Stage stage);
  Call* look_up(domain::CallId id);
  void end(domain::CallId id);
  void note_change(Function& function);
  void disturb(Function& function);
  template <typename Act>
  void change(Replica& replica, const Act& act) {
    working_ -= replica.works() ? 1 : 0;
    act();
    working_ += replica.works() ? 1 : 0;
  }

  std::deque<Function> functions_;
  std::unordered_map<std::string, Function*> by_name_;
  std::unordered_map<std::uint64_t, Replica> replicas_;
  std::deque<std::optional<Call>> calls_;  // from first_call_ on, by number: they come in its order
  std::uint64_t first_call_ = 1;
  std::unordered_set<std::uint64_t> templates_;
  int working_ = 0, waiting_ = 0, coming_ = 0;
  bool draining_ = false;
  std::uint64_t set_aside_ = 0, turns_ = 0;
  Time now_{};
  std::optional<domain::CallId> arrived_, held_;
  std::vector<Grant> grants_;
  std::vector<Call> ended_;
  std::vector<Replica> stopped_;
  std::vector<Freeze> freezes_;
  std::vector<const Function*> changed_;
};

}  // namespace glowplug::simulate
