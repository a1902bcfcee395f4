// Every call, from its arrival to its one end: simulate/checkers.h.
#include <deque>
#include <functional>
#include <map>
#include <queue>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "base/units.h"
#include "policy/cache_domains.h"
#include "simulate/checkers.h"

namespace glowplug::simulate {
namespace {

const std::string kRule = "calls";

class CallChecker final : public Checker {
 public:
  void turned(const Turn& turn, Verdict& verdict) override {
    now_ = turn.now;
    std::visit([this, &verdict](const auto& event) { on(event, verdict); }, turn.event);
    for (const control::Effect& effect : turn.effects.list) {
      if (const auto* granted = std::get_if<control::GrantCall>(&effect)) on(*granted, verdict);
      if (const auto* refused = std::get_if<control::RefuseCall>(&effect))
        answered(refused->call, "refused", verdict);
    }
    if (arrived_) hold(*std::exchange(arrived_, std::nullopt));
    check_deadlines(verdict);
  }

  void compare(const std::vector<control::FunctionView>& views, Time now,
               Verdict& verdict) override {
    for (const control::FunctionView& view : views) {
      const Function& book = functions_[view.manifest.name];
      if (view.waiting != book.waiting)
        verdict.fail(now, kRule,
                     fmt::format("{} calls wait for {}, and the brain knows of {}", book.waiting,
                                 view.manifest.name, view.waiting));
      if (view.in_flight > book.running)
        verdict.fail(now, kRule,
                     fmt::format("{} calls run on {}, and the brain counts {}", book.running,
                                 view.manifest.name, view.in_flight));
    }
  }

  void call_ended(const CallResult& result, Verdict& verdict) override {
    if (!open_.erase(result.call.value))
      verdict.fail(result.ended, kRule,
                   fmt::format("call {} ended ({}) twice, or never came", result.call.value,
                               to_string(result.outcome)));
  }

  void at_end(Time now, Verdict& verdict) override {
    if (open_.empty()) return;
    verdict.fail(now, kRule, fmt::format("{} calls never ended", open_.size()));
  }

 private:
  struct Function {
    domain::Manifest manifest;
    bool split = false;  // several revisions took its calls: for which one waits is not seen
    int waiting = 0, running = 0;
    std::map<domain::CacheDomain, std::deque<domain::CallId>> queues;
  };
  struct Call {
    Function* function = nullptr;
    Time deadline{};
    domain::CacheDomain lane;  // in which calls are granted as they came
    bool granted = false;
  };

  template <typename Event>
  void on(const Event&, Verdict&) {}

  void on(const control::FunctionPut& event, Verdict&) {
    Function& function = functions_[event.manifest.name];
    function.manifest = event.manifest;
  }
  void on(const control::TrafficSet& event, Verdict&) {
    Function& function = functions_[event.function];
    function.manifest = event.served.front().manifest;
    function.split = true;
  }
  void on(const control::CallArrived& event, Verdict& verdict) {
    Function& function = functions_[event.function];
    // One that is tried again is its caller's first call still.
    const bool fresh = event.retry_of || open_.emplace(event.call.value, Nothing{}).second;
    if (!fresh) verdict.fail(now_, kRule, fmt::format("call {} came twice", event.call.value));
    Call call;
    call.function = &function;
    call.deadline = std::min(event.deadline, now_ + function.manifest.limits.queue_timeout);
    call.lane.tenant = event.domain.tenant;
    if (policy::keeps_apart(function.manifest)) call.lane.salt = event.domain.salt;
    if (event.retry_of) call.lane.salt += " again";  // it waits for a replica of its own
    calls_.emplace(event.call.value, std::move(call));
    arrived_ = event.call;
  }
  void on(const control::CallAbandoned& event, Verdict&) { forget(event.call); }
  void on(const control::CallEnded& event, Verdict&) { forget(event.call); }

  // It was neither granted nor refused in the turn in which it came.
  void hold(domain::CallId id) {
    const auto found = calls_.find(id.value);
    if (found == calls_.end() || found->second.granted) return;
    Call& call = found->second;
    call.function->queues[call.lane].push_back(id);
    ++call.function->waiting;
    deadlines_.emplace(call.deadline, id.value);
    held_.emplace(id.value, Nothing{});
  }

  void on(const control::GrantCall& granted, Verdict& verdict) {
    const auto found = calls_.find(granted.call.value);
    if (found == calls_.end() || found->second.granted)
      return verdict.fail(now_, kRule,
                          fmt::format("call {} is granted, and does not wait", granted.call.value));
    Call& call = found->second;
    Function& function = *call.function;
    std::deque<domain::CallId>& queue = function.queues[call.lane];
    while (!queue.empty() && !held_.contains(queue.front().value)) queue.pop_front();
    if (!function.split && !queue.empty() && queue.front() != granted.call)
      verdict.fail(now_, kRule,
                   fmt::format("call {} of {} is granted before call {}, which came first",
                               granted.call.value, function.manifest.name, queue.front().value));
    if (held_.erase(granted.call.value)) --function.waiting;
    call.granted = true;
    ++function.running;
  }

  void answered(domain::CallId id, const char* how, Verdict& verdict) {
    const auto found = calls_.find(id.value);
    if (found == calls_.end() || found->second.granted)
      return verdict.fail(now_, kRule,
                          fmt::format("call {} is {}, and does not wait", id.value, how));
    forget(id);
  }

  void forget(domain::CallId id) {
    const auto found = calls_.find(id.value);
    if (found == calls_.end()) return;
    if (found->second.granted)
      --found->second.function->running;
    else if (held_.erase(id.value))
      --found->second.function->waiting;
    calls_.erase(found);
  }

  void check_deadlines(Verdict& verdict) {
    while (!deadlines_.empty() && deadlines_.top().first < now_) {
      const auto [deadline, id] = deadlines_.top();
      deadlines_.pop();
      if (held_.contains(id))
        verdict.fail(
            now_, kRule,
            fmt::format("call {} of {} still waits {} after its deadline", id,
                        calls_.at(id).function->manifest.name, format_duration(now_ - deadline)));
    }
  }

  using Deadline = std::pair<Time, std::uint64_t>;
  struct Nothing {};
  std::unordered_map<std::string, Function> functions_;
  std::unordered_map<std::uint64_t, Call> calls_;    // as the brain was told
  std::unordered_map<std::uint64_t, Nothing> held_;  // of them, those that wait
  std::unordered_map<std::uint64_t, Nothing> open_;  // as their callers see it
  std::priority_queue<Deadline, std::vector<Deadline>, std::greater<>> deadlines_;
  std::optional<domain::CallId> arrived_;
  Time now_{};
};

}  // namespace

std::unique_ptr<Checker> make_call_checker() { return std::make_unique<CallChecker>(); }

}  // namespace glowplug::simulate
