#include "worker/step_pacer.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace glowplug::worker {
namespace {

using Seconds = std::chrono::duration<double>;

// Measured: a model of 94 MB (Q4_1) reads prompts at 212 tokens/s on 2 threads, that is 10 GB of
// weights a second and thread. Prefill is bound by arithmetic, which grows with the weights and
// shrinks with the threads, so one such rate serves all sizes as a first guess.
constexpr double kWeightBytesPerSecondAndThread = 94e6 * 212 / 2;
// One step that the machine disturbed must not halve the pace for long, nor a short one double it.
constexpr double kShrinkMost = 0.5;
constexpr double kGrowMost = 1.25;

}  // namespace

int batch_for_step(std::uint64_t weight_bytes, int threads) {
  const double bytes = std::max<double>(1, static_cast<double>(weight_bytes));
  const double tokens = 2 * Seconds(kStepLimit).count() * kWeightBytesPerSecondAndThread *
                        std::max(1, threads) / bytes;
  const auto bounded = static_cast<unsigned>(std::clamp<double>(tokens, kBatchMin, kBatchMax));
  return static_cast<int>(std::bit_floor(bounded));
}

StepPacer::StepPacer(int slots, int ceiling)
    : floor_(std::min(slots + kPromptTokensMin, ceiling)),
      ceiling_(ceiling),
      tokens_max_(std::max(floor_, ceiling / 2)) {}

void StepPacer::note(int tokens, std::chrono::duration<double> took) {
  const bool full = tokens >= tokens_max_;
  const bool late = took > kStepLimit;
  // A step that was neither full nor late says nothing about what a full one takes; one that was
  // late without being full would be later still.
  if (tokens <= 0 || took.count() <= 0 || (!full && !late)) return;
  const double wanted =
      tokens_max_ * std::clamp(Seconds(kStepTarget) / took, kShrinkMost, kGrowMost);
  tokens_max_ = std::clamp(static_cast<int>(std::ceil(wanted)), floor_, ceiling_);
}

}  // namespace glowplug::worker
