#include "worker/batch_size.h"

#include <algorithm>
#include <bit>

namespace glowplug::worker {
namespace {

// Measured: a model of 94 MB (Q4_1) reads prompts at 212 tokens/s on 2 threads, that is 10 GB of
// weights a second and thread. Prefill is bound by arithmetic, which grows with the weights and
// shrinks with the threads, so one such rate serves all sizes. Faster machines get a smaller step
// than they could bear, which costs them little.
constexpr double kWeightBytesPerSecondAndThread = 94e6 * 212 / 2;
constexpr double kStepSeconds = 0.2;

}  // namespace

int batch_for_step(std::uint64_t weight_bytes, int threads) {
  const double bytes = std::max<double>(1, static_cast<double>(weight_bytes));
  const double tokens =
      kStepSeconds * kWeightBytesPerSecondAndThread * std::max(1, threads) / bytes;
  const auto bounded = static_cast<unsigned>(std::clamp<double>(tokens, kBatchMin, kBatchMax));
  return static_cast<int>(std::bit_floor(bounded));
}

}  // namespace glowplug::worker
