// What the brain shows of itself: plain copies for status pages, `ps` and metrics. Nothing here
// gates a decision. Thread: values.
#pragma once

#include <string>
#include <vector>

#include "base/time_types.h"
#include "domain/ids.h"
#include "domain/manifest.h"
#include "domain/model_facts.h"
#include "domain/replica_state.h"

namespace glowplug::control {

struct ReplicaView {
  domain::ReplicaId replica;
  int revision = 0;
  domain::State state = domain::State::Cold;
  int in_flight = 0;
  double progress = 0;  // of loading, 0..1
  int threads = 0;
  std::uint64_t memory_bytes = 0;  // reserved
};

struct FunctionView {
  domain::Manifest manifest;
  int revision = 0;
  domain::State state = domain::State::Cold;
  std::string tier;     // remote | disk | replica: where the next call would start from
  std::string reason;   // why it is failed, or what it waits for
  double progress = 0;  // of a fetch or load under way, 0..1
  int waiting = 0;
  int in_flight = 0;
  std::uint64_t memory_bytes = 0;
  std::uint64_t calls = 0;
  std::uint64_t cold_starts = 0;
  domain::ModelFacts facts;
  std::vector<ReplicaView> replicas;
};

}  // namespace glowplug::control
