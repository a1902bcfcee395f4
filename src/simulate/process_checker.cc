// Every process, from its start to its end: simulate/checkers.h.
#include <map>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include <fmt/format.h>

#include "simulate/checkers.h"

namespace glowplug::simulate {
namespace {

const std::string kRule = "processes";

class ProcessChecker final : public Checker {
 public:
  explicit ProcessChecker(const Books& books) : books_(books) {}

  void turned(const Turn& turn, Verdict& verdict) override {
    now_ = turn.now;
    verdict_ = &verdict;
    std::visit([this](const auto& event) { on(event); }, turn.event);
    for (const control::Effect& effect : turn.effects.list)
      std::visit([this](const auto& one) { on(one); }, effect);
    for (const Books::Grant& grant : books_.grants()) check_domain(grant);
    if (turn.brain.replicas() != replicas_ || turn.brain.templates() != templates_)
      fail("{} replicas and {} templates are there, and the brain counts {} and {}", replicas_,
           templates_, turn.brain.replicas(), turn.brain.templates());
  }

  void compare(const std::vector<control::FunctionView>& views, Time now,
               Verdict& verdict) override {
    now_ = now;
    verdict_ = &verdict;
    std::unordered_map<std::uint64_t, std::string> owners;
    for (const control::FunctionView& view : views) {
      for (const control::ReplicaView& one : view.replicas) {
        if (!owners.emplace(one.replica.value, view.manifest.name).second)
          fail("replica {} belongs to {} and to {}", one.replica.value, view.manifest.name,
               owners[one.replica.value]);
        const Process* process = find(one.replica);
        if (process == nullptr) {
          fail("replica {} is shown and is not there", one.replica.value);
        } else if (process->in_flight != one.in_flight) {
          fail("replica {} has {} calls, and the brain counts {}", one.replica.value,
               process->in_flight, one.in_flight);
        }
      }
    }
  }

 private:
  enum class State { Starting, Ready, Assigning, Falling, Asleep, Waking, Stopping };
  struct Process {
    bool is_template = false;
    State state = State::Starting;
    std::string function;  // empty: a spare, or a template
    int slots = 1, in_flight = 0;
    bool alone = false;  // what it runs must have it to itself
    std::optional<domain::CacheDomain> domain;
  };
  struct Running {
    domain::ProcessId replica;
    int weight = 1;
  };

  template <typename... Args>
  void fail(fmt::format_string<Args...> text, Args&&... args) {
    verdict_->fail(now_, kRule, fmt::format(text, std::forward<Args>(args)...));
  }
  Process* find(domain::ProcessId id) {
    const auto found = processes_.find(id.value);
    return found == processes_.end() ? nullptr : &found->second;
  }

  template <typename Other>
  void on(const Other&) {}

  // --- what happened ---

  void on(const control::CallArrived& event) {
    if (event.weight != 1) weights_[event.call.value] = event.weight;
    if (event.retry_of) lone_.insert(event.call.value);
  }
  void on(const control::CallEnded& event) { end(event.call); }
  void on(const control::CallAbandoned& event) { end(event.call); }
  void end(domain::CallId call) {
    const auto found = running_.find(call.value);
    lone_.erase(call.value);
    if (found == running_.end()) return;
    if (Process* process = find(found->second.replica)) {
      process->in_flight -= found->second.weight;
      process->alone &= process->in_flight > 0;
    }
    running_.erase(found);
    weights_.erase(call.value);
  }
  void on(const control::ProcessReady& event) {
    Process* process = find(event.process);
    if (process != nullptr && process->state == State::Starting) process->state = State::Ready;
  }
  void on(const control::ReplicaAssigned& event) {
    Process* process = find(event.replica);
    if (process != nullptr && process->state == State::Assigning) process->state = State::Ready;
  }
  void on(const control::ReplicaAsleep& event) {
    move(event.replica, State::Falling, State::Asleep);
  }
  void on(const control::ReplicaAwake& event) { move(event.replica, State::Waking, State::Ready); }
  void move(domain::ProcessId id, State from, State to) {
    Process* process = find(id);
    if (process != nullptr && process->state == from) process->state = to;
  }
  void on(const control::ProcessGone& event) {
    const auto found = processes_.find(event.process.value);
    if (found == processes_.end()) return;
    --(found->second.is_template ? templates_ : replicas_);
    processes_.erase(found);
  }

  // --- what is wanted ---

  void on(const control::StartProcess& effect) {
    if (effect.process.value <= last_)
      fail("process {} is started after {}: its number is not new", effect.process.value, last_);
    last_ = std::max(last_, effect.process.value);
    Process process;
    process.is_template = effect.role == control::Role::Template;
    process.slots = effect.manifest.slots;
    if (!process.is_template && !effect.spare) process.function = effect.manifest.name;
    ++(process.is_template ? templates_ : replicas_);
    processes_.emplace(effect.process.value, std::move(process));
    if (!effect.from) return;
    const Process* origin = find(*effect.from);
    if (origin == nullptr || !origin->is_template || origin->state != State::Ready)
      fail("process {} is forked from {}, which is no template that is ready", effect.process.value,
           effect.from->value);
  }
  void on(const control::AssignReplica& effect) {
    Process* process = find(effect.replica);
    if (process == nullptr || process->state != State::Ready || !process->function.empty())
      return fail("replica {} is handed over to {}, and is no spare that is ready",
                  effect.replica.value, effect.function);
    process->state = State::Assigning;
    process->function = effect.function;
  }
  void on(const control::BindReplica& effect) {
    Process* process = find(effect.replica);
    if (process == nullptr)
      return fail("replica {} is bound, and is not there", effect.replica.value);
    if (process->domain && *process->domain != effect.domain && process->in_flight > 0)
      fail("replica {} is bound to another cache domain while it answers", effect.replica.value);
    process->domain = effect.domain;
  }
  void on(const control::GrantCall& effect) {
    Process* process = find(effect.replica);
    if (process == nullptr || process->is_template || process->function.empty())
      return fail("call {} is granted replica {}, which serves no function", effect.call.value,
                  effect.replica.value);
    if (process->state != State::Ready)
      fail("call {} is granted replica {}, which is not ready", effect.call.value,
           effect.replica.value);
    const auto weighs = weights_.find(effect.call.value);
    const int weight = weighs == weights_.end() ? 1 : weighs->second;
    const bool lone = lone_.contains(effect.call.value);
    if (process->in_flight > 0 && (lone || process->alone))
      fail("call {} is granted replica {}, which a call must have to itself whose last one died",
           effect.call.value, effect.replica.value);
    process->alone = lone;
    process->in_flight += weight;
    if (process->in_flight > process->slots)
      fail("replica {} has {} slots and {} calls", effect.replica.value, process->slots,
           process->in_flight);
    running_[effect.call.value] = {effect.replica, weight};
  }
  // A call of one caller goes to no replica that holds another's prompts.
  void check_domain(const Books::Grant& grant) {
    const Books::Revision* its = grant.call->function->find(grant.revision);
    if (its == nullptr || !its->keeps_apart || grant.replica->domain == grant.call->caller) return;
    fail("call {} of \"{}\" is granted replica {}, which serves another cache domain",
         grant.call->id.value, grant.call->caller.tenant, grant.replica->id.value);
  }
  void on(const control::SleepReplica& effect) {
    Process* process = find(effect.replica);
    if (process == nullptr || process->state != State::Ready || process->in_flight > 0)
      return fail("replica {} is put to sleep, and is not idle", effect.replica.value);
    process->state = State::Falling;
  }
  void on(const control::WakeReplica& effect) {
    Process* process = find(effect.replica);
    if (process == nullptr || process->state != State::Asleep)
      return fail("replica {} is woken, and is not asleep", effect.replica.value);
    process->state = State::Waking;
  }
  void on(const control::StopProcess& effect) {
    Process* process = find(effect.process);
    if (process == nullptr || process->is_template)
      return fail("replica {} is stopped, and is not there", effect.process.value);
    if (process->state == State::Stopping)
      fail("replica {} is stopped twice", effect.process.value);
    if (process->in_flight > 0)
      fail("replica {} is stopped with {} calls in flight", effect.process.value,
           process->in_flight);
    process->state = State::Stopping;
  }
  void on(const control::KillProcess& effect) {
    Process* process = find(effect.process);
    if (process == nullptr)
      return fail("process {} is killed, and is not there", effect.process.value);
    if (process->in_flight > 0)
      fail("replica {} is killed with {} calls in flight", effect.process.value,
           process->in_flight);
    process->state = State::Stopping;
  }

  const Books& books_;
  std::unordered_map<std::uint64_t, Process> processes_;
  std::unordered_map<std::uint64_t, Running> running_;  // by call
  std::unordered_map<std::uint64_t, int> weights_;      // of calls that weigh more than one
  std::unordered_set<std::uint64_t> lone_;              // calls that are tried again
  std::size_t replicas_ = 0, templates_ = 0;
  std::uint64_t last_ = 0;
  Time now_{};
  Verdict* verdict_ = nullptr;  // of this turn
};

}  // namespace

std::unique_ptr<Checker> make_process_checker(const Books& books) {
  return std::make_unique<ProcessChecker>(books);
}

}  // namespace glowplug::simulate
