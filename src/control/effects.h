// What the brain wants done, as values, in order. A driver carries them out and posts what comes of
// it. Thread: values.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "base/time_types.h"
#include "domain/ids.h"
#include "domain/manifest.h"
#include "domain/model_facts.h"

namespace glowplug::control {

struct PrepareModel {
  domain::Manifest manifest;
  int revision = 0;
};  // answers ModelPrepared or ModelUnavailable
struct StartReplica {
  domain::ReplicaId replica;
  domain::Manifest manifest;
  int revision = 0;
  domain::ModelFacts facts;
  int threads = 1;
};
struct StopReplica {
  domain::ReplicaId replica;
};  // ask it to end; nothing is in flight on it
struct GrantCall {
  domain::CallId call;
  domain::ReplicaId replica;
  bool cold = false;   // this call waited for a start
  Duration queued{};   // waiting for a slot
  Duration fetched{};  // waiting for the model file
  Duration loaded{};   // waiting for the replica to be ready
};
struct RefuseCall {
  domain::CallId call;
  Error error;
  int retry_after_s = 0;
};  // 0 = no Retry-After

// One line of the decision log: what was decided about whom, why, and on which numbers.
struct Decision {
  Time at;
  std::string function;
  std::string decision;
  std::string reason;
};

using Effect =
    std::variant<PrepareModel, StartReplica, StopReplica, GrantCall, RefuseCall, Decision>;

struct Effects {
  std::vector<Effect> list;
  std::optional<Time> wake_at;  // post a Tick then; replaces every earlier wish
};

}  // namespace glowplug::control
