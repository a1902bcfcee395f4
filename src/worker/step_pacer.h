// How many tokens one engine step may take. A step cannot be interrupted, so its length bounds how
// late a cancellation, another slot's turn and the next token of a running answer can be: about
// 200 ms. What a token costs depends on the machine, the model, the load beside and, on a CPU, the
// length of the context, so the bound follows what steps took.
//
// Thread: one owner, the engine's loop.
#pragma once

#include <chrono>
#include <cstdint>

#include "domain/limits.h"

namespace glowplug::worker {

inline constexpr std::chrono::milliseconds kStepTarget{160};  // aimed at, so that noise stays below
inline constexpr std::chrono::milliseconds kStepLimit{200};   // a longer step shrinks the next
inline constexpr int kBatchMin = 32;   // of batch_for_step(): room for a quick machine to grow into
inline constexpr int kBatchMax = 128;  // more gains little on a CPU and costs buffers
using domain::kPromptTokensMin;        // a prompt gets on, however slow the machine

// Tokens for which the engine's buffers are laid out: twice what a step is expected to bear. A
// power of two from kBatchMin to kBatchMax.
[[nodiscard]] int batch_for_step(std::uint64_t weight_bytes, int threads);

class StepPacer final {
 public:
  // `ceiling` is what the buffers hold. A step has room for one token of each of `slots` and
  // kPromptTokensMin of a prompt, if the buffers do.
  StepPacer(int slots, int ceiling);

  int tokens_max() const { return tokens_max_; }
  void note(int tokens, std::chrono::duration<double> took);

 private:
  int floor_;
  int ceiling_;
  int tokens_max_;
};

}  // namespace glowplug::worker
