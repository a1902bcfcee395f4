// What a worker says in the role "measure": how fast it reads and answers with the settings that it
// was given. It serves nobody; one line on stdout is all that comes of it:
//
//   {"measured":{"prefill":{"median":212.1,"low":209.8,"high":213.0},"decode":{…},"rounds":3,
//    "load_ms":412,"private_bytes":91226112,"batch":64,"repacked":true}}
//
// Thread: one owner. Here is what the engines share; llama_measure.h runs the rounds.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "domain/engine_settings.h"
#include "worker/options.h"

namespace glowplug::worker {

inline constexpr int kMeasuredPromptTokens = 512;
inline constexpr int kMeasuredAnswerTokens = 64;
inline constexpr int kMeasuredRounds = 3;

// Median, least and greatest; zeroes of nothing.
[[nodiscard]] domain::Spread spread_of(std::vector<double> values);

[[nodiscard]] std::string measured_line(const domain::Figures& figures);

// What the fake engine pretends: it answers as its options say, reads ten times as fast, and a
// thread more makes it faster only up to two. Repacked weights halve how fast it reads.
[[nodiscard]] domain::Figures fake_figures(const Options& options);

// Tells the process's own memory, also once it may open no file any more.
class MemoryProbe final {
 public:
  MemoryProbe();
  [[nodiscard]] std::uint64_t private_bytes() const;  // anonymous; 0 when the kernel does not say

 private:
  UniqueFd rollup_;
};

}  // namespace glowplug::worker
