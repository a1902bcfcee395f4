// Asks a replica of ours for a sign of life, again and again, while it computes an answer of which
// nothing comes before its end.
//
//   every 5 s: GET /health ──▶ any answer within 5 s: alive
//                              three in a row without one: lost, and no further question
//
// So it is known within 20 s, however long the answer may take. A call that ends before, because
// its time or its caller's patience is over, asks at its end: answers().
//
// A stopped or hung process is so known long before the call's own timeout. Not for a process of
// the user's, which may have one thread and answer nothing meanwhile.
//
// Thread: the server loop; what is heard comes from later turns. Private to gateway/.
#pragma once

#include <functional>
#include <memory>

#include "control/platform.h"
#include "gateway/call_context.h"

namespace glowplug::gateway {

class ReplicaPulse final {
 public:
  struct Heard {
    std::function<void()> alive;
    std::function<void()> lost;  // last
  };
  ReplicaPulse(Server& server, control::Endpoint endpoint, Heard heard);
  ~ReplicaPulse();  // nothing more is heard
  ReplicaPulse(const ReplicaPulse&) = delete;
  ReplicaPulse& operator=(const ReplicaPulse&) = delete;

  // False where it misses as many in a row, asked one after the other: also one that stands still
  // for as long as batch work may (policy/batch_freeze.h) answers in time.
  static Coroutine<bool> answers(Server& server, control::Endpoint endpoint);

 private:
  struct State;
  const std::shared_ptr<State> state_;  // owners: this object and the asking coroutine
};

}  // namespace glowplug::gateway
