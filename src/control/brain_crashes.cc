// Replicas that die while they serve, in the brain: when that is a crash loop and the revision is
// put in quarantine, when it comes out, and when a request is to blame instead.
//
//   open ──▶ shut: all calls are refused ──▶ on trial: one call is let through ──▶ open
//             ▲      for a while, twice as long each time      │ answered
//             └────────────────── a replica dies ◀─────────────┘
//
// Deaths that we wanted do not count, nor do kills from outside.
#include <algorithm>

#include <fmt/format.h>

#include "base/units.h"
#include "control/brain.h"
#include "domain/errors.h"
#include "policy/retry.h"

namespace glowplug::control {
namespace {

constexpr int kProbeRetrySeconds = 2;  // while it is on trial: a call that is answered ends that

Error keeps_crashing(const std::string& name, const std::string& why) {
  return {
      std::string(domain::error::kFunctionFailed),
      fmt::format("`{}` keeps crashing: {}. It is in quarantine: calls are refused at once, and "
                  "after a pause one is let through to see; glowplug logs {} shows what its "
                  "replicas said, and deploying it anew ends this",
                  name, why, name),
      ""};
}

}  // namespace

bool Brain::is_shut(const Generation& generation) const {
  return generation.quarantine.in_a_row > 0 && cannot_start(generation);
}

bool Brain::is_closed(const Generation& generation) const {
  const Quarantine& quarantine = generation.quarantine;
  return is_shut(generation) ||
         (quarantine.in_a_row > 0 && quarantine.probe && calls_.contains(*quarantine.probe));
}

void Brain::refuse_failed(domain::CallId call, const Generation& generation) {
  if (!cannot_start(generation)) {  // on trial
    return refuse(call, keeps_crashing(generation.manifest.name, generation.quarantine.why),
                  kProbeRetrySeconds);
  }
  const Failure& failure = *generation.failure;
  const auto left = std::chrono::ceil<std::chrono::seconds>(failure.forgotten_at - now_);
  const bool retry = domain::error_kind(failure.error.code).retry;
  refuse(call, failure.error, retry ? static_cast<int>(left.count()) : 0);
}

// Of a replica that is no longer among the others.
void Brain::note_death(const Replica& replica, const ProcessGone& event) {
  const bool served =
      replica.state == domain::State::Ready || replica.in_flight > 0 || !replica.broke.empty();
  const bool crashed = event.ending == Ending::Itself || event.ending == Ending::OutOfMemory;
  if (draining_ || replica.is_spare() || !served || !crashed) return;
  Function* function = find(replica.function);
  Generation* generation = generation_of(replica.function, replica.revision);
  if (function == nullptr || generation == nullptr) return;
  ServingDeath death{.at = now_,
                     .revision = replica.revision,
                     .cause = std::string(how_it_ended(event.cause)),
                     .calls = replica.broke};
  if (replica.in_flight > 0)  // they have not been told yet
    for (auto& [id, call] : calls_)
      if (call.replica == event.process) death.calls.push_back({id, call.retry_of});
  const bool alone = death.calls.size() == 1;
  const std::optional<domain::CallId> request = alone ? death.calls.front().retry_of : std::nullopt;
  const int deaths = request ? function->crashes.deaths_of(*request) + 1 : 0;
  if (policy::blame({.deaths = deaths, .alone = alone, .answered = generation->answered}) ==
      policy::Blame::Request) {
    const domain::CallId last = death.calls.front().call;
    --generation->answered;
    function->crashes.forgive(*request);
    if (const auto call = calls_.find(last); call != calls_.end()) call->second.blamed = true;
    return decide(replica.function, "blame",
                  fmt::format("call {}: replica {} ended ({}) with nothing else on it, and another "
                              "before; they do not count against revision {}",
                              last.value, event.process.value, death.cause, replica.revision));
  }
  if (deaths >= policy::kPoisonDeaths) death.request = request;
  const std::string cause = death.cause;
  function->crashes.add(std::move(death));
  if (is_shut(*generation)) return;
  const bool on_trial = generation->quarantine.in_a_row > 0;
  if (!on_trial && !function->crashes.is_loop(replica.revision, cause, now_)) return;
  Quarantine& quarantine = generation->quarantine;
  if (!on_trial)
    quarantine.why = fmt::format("{} of its replicas died within {} ({})", policy::kCrashLoop,
                                 format_duration(policy::kCrashSpan), cause);
  ++quarantine.in_a_row;
  quarantine.probe.reset();
  fail(replica.function, *function, *generation, keeps_crashing(replica.function, quarantine.why));
  const Generation* const kept = generation_of(replica.function, replica.revision);
  if (kept == nullptr || !kept->failure) return;  // another has taken over
  // The replicas that are left take none of those that wait either.
  Generation* const other = stand_in(*function);
  std::erase_if(function->waiting, [&](Waiting& waiting) {
    if (waiting.revision != kept->revision) return false;
    if (other != nullptr)
      assign(waiting, *other);
    else
      refuse_failed(waiting.call, *kept);
    return other == nullptr;
  });
  function->note_left();
  decide(replica.function, "quarantine",
         fmt::format("revision {}, for the {}. time: {}{}; for {}", kept->revision,
                     kept->quarantine.in_a_row, kept->quarantine.why,
                     on_trial ? ", and one more on trial" : "",
                     format_duration(kept->failure->forgotten_at - now_)));
}

// Of a replica that is still there.
void Brain::note_answer(Function& function, Generation& generation, domain::CallId call) {
  if (!function.crashes.forgive_suspect(generation.revision))
    generation.answered = std::min(generation.answered + 1, policy::kAnswersMax);
  if (generation.quarantine.in_a_row == 0 || generation.quarantine.probe != call) return;
  generation.quarantine = {};
  function.crashes.forget(generation.revision);
  decide(generation.manifest.name, "recovered",
         fmt::format("revision {}: call {} was answered, and all are let through again",
                     generation.revision, call.value));
}

// Where an answer breaks off, its replica has most often died, but that is only known at its end:
// until then it is open.
Blamed Brain::blames(domain::CallId id) const {
  const auto call = calls_.find(id);
  if (call == calls_.end() || !call->second.replica) return Blamed::No;
  if (call->second.blamed) return Blamed::Yes;
  if (draining_ || !call->second.retry_of) return Blamed::No;
  const auto function = functions_.find(call->second.function);
  const auto replica = replicas_.find(*call->second.replica);
  if (function == functions_.end() || replica == replicas_.end()) return Blamed::No;
  const Generation* generation = generation_of(function->first, replica->second.revision);
  const int deaths = function->second.crashes.deaths_of(*call->second.retry_of) + 1;
  const bool would =
      generation != nullptr &&
      policy::blame({.deaths = deaths, .alone = true, .answered = generation->answered}) ==
          policy::Blame::Request;
  return would ? Blamed::Open : Blamed::No;
}

}  // namespace glowplug::control
