// How many prompt tokens one engine step may take. A step cannot be interrupted, so its length
// bounds how late a cancellation, another slot's turn and the next token of a running answer can
// be: at most 200 ms.
//
// Thread: pure.
#pragma once

#include <cstdint>

namespace glowplug::worker {

inline constexpr int kBatchMin = 32;   // below this the matrix kernels lose their blocking
inline constexpr int kBatchMax = 512;  // llama.cpp's own default for one physical batch

// A power of two from kBatchMin to kBatchMax.
[[nodiscard]] int batch_for_step(std::uint64_t weight_bytes, int threads);

}  // namespace glowplug::worker
