// Who waits for the answer of a call: a client at its connection (client_caller.h), or a job
// (job_runner.cc).
//
// perform() tells it how the call goes on. It gives it the pieces of an answer that is streamed,
// and returns one that comes as a whole.
//
// Thread: the server loop. Private to gateway/.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "control/platform.h"
#include "gateway/call_context.h"

namespace glowplug::gateway {

// Where a streamed answer goes: its head with what comes first, further pieces, and either end.
// False: nobody is there any more.
class AnswerStream {
 public:
  virtual ~AnswerStream() = default;
  virtual Coroutine<bool> begin(const std::string& headers, std::string_view first) = 0;
  virtual Coroutine<bool> write(std::string_view piece) = 0;
  virtual Coroutine<> end() = 0;
  virtual Coroutine<> break_off(const ErrorAnswer& failure) = 0;
};

class Caller {
 public:
  virtual ~Caller() = default;

  struct Ends {
    std::function<void()> gone;  // nobody wants the answer any more
    std::function<void()> lost;  // its replica gives no sign of life
  };
  // Calls one of them, at most once and until unwatch(); at once, where it is so already.
  virtual void watch(Ends ends) = 0;
  virtual void unwatch() = 0;

  virtual void granted(const control::Grant& grant) = 0;
  virtual void progressed() = 0;  // something of an answer has come from the replica

  virtual AnswerStream* stream() = 0;  // null: it takes whole answers only
};

}  // namespace glowplug::gateway
