// When a stream of function events says what: a value machine without I/O, so that the pace is
// tested without waiting.
//
// A first event comes at once. Changes of state go out as soon as the client takes them, progress
// at most every kEventProgressEvery, and a ping after kEventPing of silence. However much happens
// while the client takes nothing, one event is owed: the strongest change, told as what is true
// then.
//
// Thread: one owner, the stream's coroutine.
#pragma once

#include "base/time_types.h"
#include "control/views.h"

namespace glowplug::gateway {

class EventPacer final {
 public:
  enum class Send { Nothing, State, Progress, Deleted, Ping };

  explicit EventPacer(Time now) : spoke_(now) {}

  void note(control::Change change);
  Send next(Time now);   // what to send now; it counts as sent
  Time wake_at() const;  // when next() may have something though nothing more was noted

 private:
  control::Change owed_ = control::Change::State;
  Time spoke_;   // the last ping or event
  Time told_{};  // the last event
};

}  // namespace glowplug::gateway
