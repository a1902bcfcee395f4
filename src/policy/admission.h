// Whether a replica fits this machine: bytes by estimate from the model file's header; and what the
// kernel then holds it to. Its cores are in cores.h.
//
// The estimate is weights + KV for every slot's full context + a fixed part for the process and the
// engine's compute buffers. It is deliberately high: a refusal can be explained, an over-committed
// machine cannot.
//
// Thread: pure functions.
#pragma once

#include <cstdint>
#include <optional>

#include "domain/manifest.h"
#include "domain/model_facts.h"
#include "policy/cores.h"

namespace glowplug::policy {

std::uint64_t estimate_replica_bytes(const domain::Manifest& manifest,
                                     const domain::ModelFacts& facts);

// The same with so much cache, whatever its owner declares.
std::uint64_t estimate_bytes_with(std::uint64_t cache_bytes, const domain::Manifest& manifest,
                                  const domain::ModelFacts& facts);

// What a replica on a declared device takes of this machine's memory: the fake engine, which
// pretends to hold what is reserved there, only what it was measured to.
std::uint64_t estimate_pretender_bytes(std::uint64_t reserved, std::uint64_t measured);

// Parts of it: the KV cache of every slot's full context, and what a step longer than usual adds:
// a row over the vocabulary for each of its tokens.
std::uint64_t estimate_cache_bytes(const domain::Manifest& manifest,
                                   const domain::ModelFacts& facts);
std::uint64_t estimate_step_bytes(const domain::Manifest& manifest,
                                  const domain::ModelFacts& facts);

// What the kernel is to hold a process to; what is not given is not limited.
struct ProcessLimits {
  std::optional<std::uint64_t> memory_bytes = {};
  std::optional<double> cpu_cores = {};
  std::optional<std::uint64_t> pids = {};  // threads count
  friend bool operator==(const ProcessLimits&, const ProcessLimits&) = default;
};

// Of a replica or a template with so many bytes reserved. An estimate gets room above it, an
// owner's figure is taken at its word; the model file comes on top of either, because its pages
// are charged to whoever reads them first. A foreign process is held to what its owner declares.
ProcessLimits limits_of(std::uint64_t reserved, const domain::Manifest& manifest,
                        const domain::ModelFacts& facts, int threads);

}  // namespace glowplug::policy
