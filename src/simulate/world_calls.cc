// Calls in a simulated world: from their arrival to their one end.
#include <algorithm>
#include <utility>

#include "domain/errors.h"
#include "domain/limits.h"
#include "simulate/world.h"

namespace glowplug::simulate {
namespace {

constexpr Duration kKillsAfter = std::chrono::milliseconds(1);

}  // namespace

World::Call* World::find_call(domain::CallId id) {
  if (id.value < first_call_ || id.value > last_call_) return nullptr;
  std::optional<Call>& call = calls_[id.value - first_call_];
  return call ? &*call : nullptr;
}

void World::arrive(domain::CallId id, const Call& call, std::optional<domain::CallId> retry_of) {
  const std::uint32_t function = call.result.function;
  control::CallArrived arrived{.call = id,
                               .function = functions_.at(function).name,
                               .deadline = now_ + domain::kQueueTimeoutMax,
                               .keep_alive = options_.keep_alive
                                                 ? std::optional(options_.keep_alive(function))
                                                 : std::nullopt,
                               .domain = call.domain,
                               .prompt = {},
                               .retry_of = retry_of};
  if (retry_of)
    post_at(now_, std::move(arrived));  // once the end of its replica is seen
  else
    post(std::move(arrived));
}

void World::carry_out(const control::GrantCall& effect) {
  Call* call = find_call(effect.call);
  if (call == nullptr || call->stage != CallStage::Waiting) {  // left in the same turn
    events_.push_back(control::CallEnded{effect.call, control::CallOutcome::Unsent});
    return;
  }
  const auto replica = processes_.find(effect.replica);
  if (replica == processes_.end() || replica->second.stage != Stage::Ready) {
    events_.push_back(control::CallEnded{effect.call, control::CallOutcome::Unsent});
    call->result.error = domain::error::kReplicaFailed;
    return close(effect.call, CallOutcome::Refused);
  }
  Process& process = replica->second;
  CallResult& result = call->result;
  result.granted = now_;
  result.cold = effect.cold;
  result.tier = effect.tier;
  if (!process.devices.empty()) result.device = process.devices.front();
  result.start_wait =
      effect.waited.sum() - effect.waited[domain::Phase::Queue].value_or(Duration(0));
  call->stage = CallStage::Running;
  call->replica = effect.replica;
  call->revision = effect.revision;
  ++process.calls;
  process.tokens_now += static_cast<std::uint64_t>(result.prompt_tokens) + result.output_tokens;
  use_context(effect.replica, process);
  const double more = to_seconds(std::exchange(process.first_call, Duration(0)));
  compute_of(process).run(
      effect.replica,
      {.call = effect.call,
       .prompt_tokens = result.prompt_tokens + more * process.profile->prefill_tokens_per_s,
       .output_tokens = result.output_tokens},
      now_);
  watch_deadline(result.function, effect.call);
  if (call->kills || functions_.at(result.function).deadly)
    at(kKillsAfter, {Happening::What::Kill, effect.call.value});
}

void World::kill_by(domain::CallId id) {
  const Call* call = find_call(id);
  if (call != nullptr && call->stage == CallStage::Running)
    crash(call->replica, Death::Itself, "died of a call");
}

// Deadlines of a function's calls come in the order of their grants, so that one happening on the
// timeline is enough for all of them.
void World::watch_deadline(std::uint32_t number, domain::CallId call) {
  Function& function = functions_.at(number);
  function.granted.push_back(call);
  while (find_call(function.granted.front()) == nullptr) function.granted.pop_front();
  if (function.deadline_watched) return;
  function.deadline_watched = true;
  at(function.manifest.limits.timeout, {Happening::What::TimeOut, number});
}

void World::carry_out(const control::RefuseCall& effect) {
  Call* call = find_call(effect.call);
  if (call == nullptr || call->stage != CallStage::Waiting) return;
  call->result.error = effect.error.code;
  close(effect.call, CallOutcome::Refused);
}

void World::leave(domain::CallId id) {
  if (const auto again = retries_.find(id); again != retries_.end()) id = again->second;
  Call* call = find_call(id);
  if (call == nullptr) return;
  if (call->stage == CallStage::Running) return finish(id, CallOutcome::Left);
  close(id, CallOutcome::Left);
  post(control::CallAbandoned{id});
}

void World::time_out(std::uint32_t number) {
  Function& function = functions_.at(number);
  while (!function.granted.empty()) {
    const domain::CallId id = function.granted.front();
    const Call* call = find_call(id);
    if (call != nullptr) {
      const Time deadline = *call->result.granted + function.manifest.limits.timeout;
      if (deadline > now_) return timeline_.put(deadline, {Happening::What::TimeOut, number});
    }
    function.granted.pop_front();
    if (call != nullptr) finish(id, CallOutcome::TimedOut);  // which may grant the next
  }
  function.deadline_watched = false;
}

void World::first_token(domain::CallId id) {
  Call* call = find_call(id);
  if (call == nullptr) return;
  CallResult& result = call->result;
  result.first_token = now_ + model_.gateway;
  tell(control::AnswerBegan{.function = functions_.at(result.function).name,
                            .revision = call->revision,
                            .after = *result.first_token - result.arrived});
}

// Of a call that runs. Its replica may be gone.
void World::finish(domain::CallId id, CallOutcome outcome) {
  Call* call = find_call(id);
  if (call == nullptr) return;
  const domain::ProcessId replica = call->replica;
  if (const auto found = processes_.find(replica); found != processes_.end()) {
    Process& process = found->second;
    if (outcome != CallOutcome::Answered) compute_of(process).drop(replica, id, now_);
    --process.calls;
    process.tokens_now -=
        static_cast<std::uint64_t>(call->result.prompt_tokens) + call->result.output_tokens;
    if (!std::exchange(process.answered, true)) {
      measuring_.note_answer(replica, now_);
      schedule_measure();
    }
  }
  if (outcome == CallOutcome::Broken && controller_.brain().blames(id) == control::Blamed::Yes)
    call->result.error = domain::error::kPoisonousRequest;
  if (outcome == CallOutcome::Broken && !call->again && !call->result.first_token)
    try_again(id);
  else
    close(id, outcome);
  tell(control::CallEnded{id, outcome == CallOutcome::Answered ? control::CallOutcome::Answered
                              : outcome == CallOutcome::Broken ? control::CallOutcome::ReplicaBroke
                                                               : control::CallOutcome::Stopped});
}

// As the gateway does, once, before the caller has had a byte.
void World::try_again(domain::CallId id) {
  Call again = *find_call(id);
  again.stage = CallStage::Waiting;
  again.again = true;
  again.result.granted.reset();
  const domain::CallId second{++last_call_};
  calls_.push_back(again);
  retries_.emplace(id, second);
  drop(id);
  arrive(second, again, id);
}

void World::close(domain::CallId id, CallOutcome outcome) {
  CallResult& result = find_call(id)->result;
  result.outcome = outcome;
  result.ended = now_;
  for (Observer* observer : observers_) observer->call_ended(result);
  retries_.erase(result.call);
  --open_;
  drop(id);
}

void World::drop(domain::CallId id) {
  calls_[id.value - first_call_].reset();
  while (!calls_.empty() && !calls_.front()) {
    calls_.pop_front();
    ++first_call_;
  }
}

}  // namespace glowplug::simulate
