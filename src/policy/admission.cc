#include "policy/admission.h"

#include <algorithm>

namespace glowplug::policy {
namespace {

constexpr std::uint64_t kMiB = 1024 * 1024;
// Measured on a 2-core machine: worker and compute buffers of SmolLM2-135M take 66 MB, of
// Gemma-3-270M 81 MB.
constexpr std::uint64_t kLlamaFixedBytes = 96 * kMiB;
constexpr int kStepTokensWithin = 128;  // steps this long are within the fixed part
constexpr std::uint64_t kFakeBytes = 16 * kMiB;
// What a foreign process takes is unknown; a Python handler is near this, a model server adds its
// file.
constexpr std::uint64_t kProcessBytes = 256 * kMiB;

// Room above what is expected: a limit is there for what runs away.
constexpr std::uint64_t kMemoryMargin = 128 * kMiB;
constexpr double kCoreMargin = 0.5;  // the thread that serves the socket
constexpr std::uint64_t kPidsMargin = 128;
constexpr int kPools = 2;  // that the engine loads with, and that it computes with later

}  // namespace

std::uint64_t estimate_cache_bytes(const domain::Manifest& manifest,
                                   const domain::ModelFacts& facts) {
  const auto tokens =
      static_cast<std::uint64_t>(manifest.context) * static_cast<std::uint64_t>(manifest.slots);
  const std::uint64_t f16 = facts.kv_bytes_per_token * tokens;
  // 32 elements in 34 bytes instead of 64.
  return manifest.tuning.kv == domain::KvType::Q8_0 ? f16 / 64 * 34 + f16 % 64 : f16;
}

std::uint64_t estimate_step_bytes(const domain::Manifest& manifest,
                                  const domain::ModelFacts& facts) {
  const auto beyond =
      static_cast<std::uint64_t>(std::max(0, manifest.tuning.batch - kStepTokensWithin));
  return beyond * facts.vocabulary * sizeof(float);
}

std::uint64_t estimate_bytes_with(std::uint64_t cache_bytes, const domain::Manifest& manifest,
                                  const domain::ModelFacts& facts) {
  if (manifest.engine.kind == domain::EngineKind::Fake) return kFakeBytes;
  const std::uint64_t model_bytes =
      facts.weight_bytes + cache_bytes + estimate_step_bytes(manifest, facts);
  const bool foreign = manifest.engine.kind == domain::EngineKind::Process;
  return model_bytes + (foreign ? kProcessBytes : kLlamaFixedBytes);
}

std::uint64_t estimate_replica_bytes(const domain::Manifest& manifest,
                                     const domain::ModelFacts& facts) {
  if (manifest.resources.memory_bytes > 0) return manifest.resources.memory_bytes;
  return estimate_bytes_with(estimate_cache_bytes(manifest, facts), manifest, facts);
}

std::uint64_t estimate_pretender_bytes(std::uint64_t reserved, std::uint64_t measured) {
  return std::min(reserved, std::max(kFakeBytes, measured + measured / 20));
}

ProcessLimits limits_of(std::uint64_t reserved, const domain::Manifest& manifest,
                        const domain::ModelFacts& facts, int threads) {
  ProcessLimits limits;
  const bool foreign = manifest.engine.kind == domain::EngineKind::Process;
  const std::uint64_t declared = manifest.resources.memory_bytes;
  if (declared > 0)
    limits.memory_bytes = declared + facts.file_bytes;
  else if (!foreign)
    limits.memory_bytes = reserved + reserved / 2 + facts.file_bytes + kMemoryMargin;
  if (!foreign || manifest.resources.threads > 0) limits.cpu_cores = threads + kCoreMargin;
  if (!foreign)
    limits.pids =
        kPidsMargin + static_cast<std::uint64_t>(manifest.slots + kPools * std::max(0, threads));
  return limits;
}

}  // namespace glowplug::policy
