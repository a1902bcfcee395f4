// Whether a replica fits this machine: bytes by estimate from the model file's header, cores by
// share.
//
// The estimate is weights + KV for every slot's full context + a fixed part for the process and the
// engine's compute buffers. It is deliberately high: a refusal can be explained, an over-committed
// machine cannot.
//
// Thread: pure functions.
#pragma once

#include <cstdint>

#include "domain/manifest.h"
#include "domain/model_facts.h"

namespace glowplug::policy {

std::uint64_t estimate_replica_bytes(const domain::Manifest& manifest,
                                     const domain::ModelFacts& facts);

struct CoreShare {
  int cores_total = 1;
  int replicas_busy = 0;      // others with work under way
  int threads_requested = 0;  // 0 = auto
};

// Threads for a new replica: what it asked for, at most all cores; by default an equal share with
// the busy ones.
int grant_threads(const CoreShare& share);

}  // namespace glowplug::policy
