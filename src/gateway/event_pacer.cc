#include "gateway/event_pacer.h"

#include <algorithm>
#include <utility>

#include "domain/limits.h"

namespace glowplug::gateway {

using control::Change;

void EventPacer::note(Change change) { owed_ = std::max(owed_, change); }

EventPacer::Send EventPacer::next(Time now) {
  if (now < wake_at()) return Send::Nothing;
  spoke_ = now;
  const Change owed = std::exchange(owed_, Change::None);
  if (owed == Change::None) return Send::Ping;
  told_ = now;
  if (owed == Change::Deleted) return Send::Deleted;
  return owed == Change::State ? Send::State : Send::Progress;
}

Time EventPacer::wake_at() const {
  if (owed_ == Change::None) return spoke_ + domain::kEventPing;
  return owed_ == Change::Progress ? told_ + domain::kEventProgressEvery : Time::min();
}

}  // namespace glowplug::gateway
