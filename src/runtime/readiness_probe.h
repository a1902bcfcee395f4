// Asks a process over HTTP whether it can serve: GET every `interval` until it answers 200.
//
// Refused connections, other statuses and slow answers just mean "not yet"; the caller bounds the
// whole wait.
//
// Thread: the loop's. After the destructor the callback is not called; it is called at most once.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "base/time_types.h"
#include "control/platform.h"

namespace boost::asio {
class io_context;
}

namespace glowplug::runtime {

class ReadinessProbe final {
 public:
  struct Options {
    control::Endpoint endpoint;
    std::string path;
    Duration interval = std::chrono::milliseconds(50);
    Duration attempt_timeout =
        std::chrono::seconds(2);  // a process that accepts but never answers is asked again
  };

  ReadinessProbe(boost::asio::io_context& loop, Options options, std::function<void()> ready);
  ~ReadinessProbe();
  ReadinessProbe(const ReadinessProbe&) = delete;
  ReadinessProbe& operator=(const ReadinessProbe&) = delete;

 private:
  class State;
  std::shared_ptr<State> state_;  // owners: this probe and the handler of its pause
};

}  // namespace glowplug::runtime
