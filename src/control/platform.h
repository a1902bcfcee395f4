// The function platform as the gateway sees it: the only door between HTTP and the brain.
//
// Implemented by app/live_platform over control/brain, and by a double in gateway tests.
// Thread: every call is made on, and every callback comes back on, the one server loop.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "base/time_types.h"
#include "control/checkpoints.h"
#include "control/effects.h"
#include "control/events.h"
#include "control/process_counts.h"
#include "control/views.h"

namespace glowplug::control {

// Where a granted replica answers: a Unix socket path, or a port of 127.0.0.1 when the path is
// empty.
struct Endpoint {
  std::string socket_path;
  int port = 0;
};

struct Grant {
  domain::CallId call;
  domain::ProcessId replica;
  Endpoint endpoint;
  domain::Manifest manifest;  // of the revision that answers
  domain::ModelFacts facts;
  int revision = 0;
  bool cold = false;                          // it waited for a start
  domain::Tier tier = domain::Tier::Replica;  // from where that start came
  domain::PhaseTimes waited;                  // before the grant
  std::optional<std::uint64_t> bytes_read;    // from the disk for that start; none = not known
};

struct Refusal {
  Error error;
  int retry_after_s = 0;  // 0 = none
};

struct CallWish {
  std::string function;
  int weight = 1;
  std::optional<Duration> keep_alive;
  domain::CacheDomain domain;
  domain::PromptLinks prompt;
  std::optional<domain::CallId> retry_of;  // this request's, whose replica broke off
  domain::JobUrgency urgency = domain::JobUrgency::Interactive;
};

struct PutOutcome {
  int revision = 0;
  bool created = false;
  bool changed = false;
};

// What is told of a tune: one TrialNews after each choice of settings, then its end or why it has
// none.
struct TrialNews {
  domain::Trial trial;
  int done = 0, of = 0;
};
struct TuneEnd {
  domain::TuneResult result;
  int revision = 0;            // that was measured
  std::optional<int> applied;  // the revision made of it, when that was asked for
};
using TuneNews = std::variant<TrialNews, TuneEnd, Error>;

enum class Apply { No, Yes };                // Yes: a revision that says the choice
enum class BesideCalls { Refuse, Measure };  // while calls are in flight
struct TuneWish {
  std::string function;
  Apply apply = Apply::No;
  BesideCalls beside_calls = BesideCalls::Refuse;
};

class Platform {
 public:
  virtual ~Platform() = default;

  // Asks for a replica. `done` is called exactly once, later or at once, unless abandon() came
  // first.
  virtual domain::CallId call(CallWish wish,
                              std::function<void(Result<Grant>, int retry_after_s)> done) = 0;
  virtual void abandon(domain::CallId call) = 0;  // the caller left before `done`
  virtual void finish(
      domain::CallId call,
      CallOutcome outcome) = 0;  // after a grant, exactly once: the slots are free again
  // Of a call whose replica broke off, before finish(): Yes, the request is to blame and not the
  // function, so that its caller is told to send it no more. While it is Open, ask again a little
  // later: the end of a process is seen after that of its connections.
  virtual Blamed blames(domain::CallId call) const = 0;
  // For the autoscaler: an answer of this revision has begun, so long after its call came. At most
  // once for a call, also after finish().
  virtual void began(const std::string& function, int revision, Duration after) = 0;

  virtual Result<PutOutcome> put(const domain::Manifest& manifest,
                                 std::optional<int> if_revision) = 0;
  virtual Result<void> remove(const std::string& function) = 0;
  virtual Result<void> warm(const std::string& function, int count, Duration hold) = 0;
  // Errors: model_not_found, and unsupported_value where the function has no such tier.
  virtual Result<void> preload(const std::string& function, domain::Tier tier, Duration hold) = 0;
  virtual Result<void> stop(const std::string& function) = 0;
  virtual Checkpoints& checkpoints() = 0;

  // Measures the function in processes of its own, one tune at a time. `heard` comes from later
  // turns of the loop, until its end, its error or abandon_tune(). The choice is kept with the
  // revision and stands for its `auto` from its next start on. Errors: model_not_found,
  // unsupported_value of a process engine, tune_refused, does_not_fit, shutting_down.
  virtual Result<domain::TuneId> tune(const TuneWish& wish,
                                      std::function<void(const TuneNews&)> heard) = 0;
  virtual void abandon_tune(domain::TuneId tune) = 0;  // also after its end

  // Calls `changed` once the brain's turn is over, on each change of the function's FunctionStatus,
  // until unwatch() or until it has said Deleted. What it changed to is asked with function(). A
  // watched function is neither woken nor kept awake. Errors: model_not_found, and
  // server_is_overloaded while kWatchersMax watch.
  virtual Result<domain::WatchId> watch(const std::string& function,
                                        std::function<void(Change)> changed) = 0;
  virtual void unwatch(domain::WatchId watch) = 0;  // also after Deleted

  // One after the other in the order of their names: what is shown of all is never held at once.
  virtual void each_function(const std::function<void(FunctionView)>& visit) const = 0;
  std::vector<FunctionView> functions() const;
  virtual std::optional<FunctionView> function(const std::string& name) const = 0;
  // On the way of every call, where all that function() gathers is too much.
  virtual std::optional<CalleeView> callee(const std::string& name) const = 0;
  virtual std::vector<DeviceView> devices() const = 0;
  virtual std::vector<std::string> logs(const std::string& function) const = 0;  // oldest first
  virtual std::vector<Decision> decisions() const = 0;                           // oldest first
  virtual ProcessCounts process_counts() const = 0;  // since this server began
  virtual bool admitting() const = 0;                // false while draining: /readyz
};

inline std::vector<FunctionView> Platform::functions() const {
  std::vector<FunctionView> views;
  each_function([&views](FunctionView view) { views.push_back(std::move(view)); });
  return views;
}

}  // namespace glowplug::control
