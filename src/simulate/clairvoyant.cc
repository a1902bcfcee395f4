#include "simulate/clairvoyant.h"

#include <optional>
#include <utility>

namespace glowplug::simulate {

Result<Clairvoyant> Clairvoyant::of(RequestSource& source) {
  Clairvoyant all;
  while (true) {
    const auto next = source.next();
    if (!next) return next.error();
    if (!*next) break;
    all.calls_.push_back(**next);
  }
  all.functions_ = source.functions();
  all.times_.resize(all.functions_.size());
  for (const Request& call : all.calls_) all.times_[call.function].push_back(call.at);
  return all;
}

Result<std::optional<Request>> Clairvoyant::next() {
  if (taken_ == calls_.size()) return std::optional<Request>{};
  return std::optional(calls_[taken_++]);
}

Duration Clairvoyant::keep_alive(std::uint32_t function, Duration most) {
  if (function >= times_.size() || times_[function].empty()) return {};
  std::deque<Duration>& times = times_[function];
  const Duration at = times.front();
  times.pop_front();
  if (times.empty() || times.front() - at > most) return {};
  return times.front() - at;
}

}  // namespace glowplug::simulate
