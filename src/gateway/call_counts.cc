#include "gateway/call_counts.h"

#include "domain/errors.h"
#include "domain/limits.h"
#include "fmt/format.h"

namespace glowplug::gateway {
namespace {

std::string labels(const std::pair<CallFate, std::string_view>& end) {
  return fmt::format("outcome=\"{}\",reason=\"{}\"", to_string(end.first), end.second);
}

}  // namespace

std::string_view known_reason(std::string_view reason) {
  for (const std::string_view word :
       {call_reason::kComplete, call_reason::kDryRun, call_reason::kSending, call_reason::kWaiting,
        call_reason::kAnswering})
    if (word == reason) return word;
  for (const domain::ErrorKind& kind : domain::kErrorKinds)
    if (kind.code == reason) return kind.code;
  return call_reason::kOther;
}

void CallCounts::arrived() {
  ++arrived_;
  ++open_;
}

void CallCounts::ended(const std::string& function, CallFate fate, std::string_view reason) {
  --open_;
  const End end{fate, known_reason(reason)};
  ++ended_[end];
  if (fate == CallFate::Answered) return;
  const bool has_room =
      unanswered_.size() < domain::kFunctionsMax || unanswered_.contains(function);
  if (has_room) ++unanswered_[function][end];
}

std::uint64_t CallCounts::ended_count(CallFate fate) const {
  std::uint64_t sum = 0;
  for (const auto& [end, count] : ended_) sum += end.first == fate ? count : 0;
  return sum;
}

void CallCounts::keep_only(const std::set<std::string_view>& functions) {
  std::erase_if(unanswered_, [&functions](const auto& one) {
    return !one.first.empty() && !functions.contains(one.first);
  });
}

void CallCounts::write(MetricsText& text) const {
  text.family("glowplug_calls_arrived", "counter",
              "Calls whose header block has come: all that ended, and those open.");
  text.sample("glowplug_calls_arrived_total", "", arrived_);
  text.family("glowplug_calls_open", "gauge", "Calls that have arrived and not ended.");
  text.sample("glowplug_calls_open", "", open_);
  text.family("glowplug_calls_ended", "counter", "Calls by what became of them and why.");
  for (const auto& [end, count] : ended_)
    text.sample("glowplug_calls_ended_total", labels(end), count);
  text.family("glowplug_calls_unanswered", "counter",
              "Those without a whole answer by function; none where the call named none.");
  for (const auto& [function, ends] : unanswered_)
    for (const auto& [end, count] : ends)
      text.sample("glowplug_calls_unanswered_total",
                  fmt::format("function=\"{}\",{}", function, labels(end)), count);
}

OpenCall::~OpenCall() { end("", CallFate::Broken, domain::error::kServerError); }

void OpenCall::end(const std::string& function, CallFate fate, std::string_view reason) {
  if (ended_) return;
  ended_ = true;
  counts_.ended(function, fate, reason);
}

}  // namespace glowplug::gateway
