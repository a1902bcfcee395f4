// Puts engines to sleep and wakes them: carries out the steps of runtime/sleep_steps.h against
// their replicas, one after the other, within a time limit for all of them.
//
// A request that does not come through, an answer that says no and a limit that is over end it with
// an error that names the step. It decides nothing, and ends no process.
//
// Thread: the server loop's.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "base/result.h"
#include "base/time_types.h"
#include "control/platform.h"
#include "domain/ids.h"
#include "runtime/sleep_steps.h"

namespace boost::asio {
class io_context;
}

namespace glowplug::runtime {

class SleepRunner final {
 public:
  using Done = std::function<void(Result<void>)>;

  explicit SleepRunner(boost::asio::io_context& loop);
  ~SleepRunner();
  SleepRunner(const SleepRunner&) = delete;
  SleepRunner& operator=(const SleepRunner&) = delete;

  // `done` is called once, later, from the loop. What was under way with the process is forgotten.
  void run(domain::ProcessId process, const control::Endpoint& endpoint,
           std::vector<SleepStep> steps, Duration limit, Done done);
  void forget(domain::ProcessId process);  // its `done` is not called any more

 private:
  class Run;
  boost::asio::io_context& loop_;
  std::map<domain::ProcessId, std::shared_ptr<Run>> runs_;  // owners: this and a run's timers
};

}  // namespace glowplug::runtime
