#include "policy/admission.h"

#include <algorithm>

namespace glowplug::policy {
namespace {

constexpr std::uint64_t kMiB = 1024 * 1024;
// Measured on a 2-core machine: worker and compute buffers of SmolLM2-135M take 66 MB, of
// Gemma-3-270M 81 MB.
constexpr std::uint64_t kLlamaFixedBytes = 96 * kMiB;
constexpr std::uint64_t kFakeBytes = 16 * kMiB;
// What a foreign process takes is unknown; a Python handler is near this, a model server adds its
// file.
constexpr std::uint64_t kProcessBytes = 256 * kMiB;

}  // namespace

std::uint64_t estimate_replica_bytes(const domain::Manifest& manifest,
                                     const domain::ModelFacts& facts) {
  if (manifest.resources.memory_bytes > 0) return manifest.resources.memory_bytes;
  if (manifest.engine.kind == domain::EngineKind::Fake) return kFakeBytes;
  const auto tokens =
      static_cast<std::uint64_t>(manifest.context) * static_cast<std::uint64_t>(manifest.slots);
  const std::uint64_t model_bytes = facts.weight_bytes + facts.kv_bytes_per_token * tokens;
  const bool foreign = manifest.engine.kind == domain::EngineKind::Process;
  return model_bytes + (foreign ? kProcessBytes : kLlamaFixedBytes);
}

int grant_threads(const CoreShare& share) {
  const int total = std::max(1, share.cores_total);
  if (share.threads_requested > 0) return std::min(share.threads_requested, total);
  return std::max(1, total / (1 + std::max(0, share.replicas_busy)));
}

}  // namespace glowplug::policy
