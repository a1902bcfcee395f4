// What the command line says of `simulate` and `plan`. They ask no server: main() hands in what
// runs them, as it does for `serve`.
//
// Thread: values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/time_types.h"

namespace glowplug::cli {

struct SimulateOptions {
  std::string trace;                // a file; empty = made up
  std::string kind;                 // of what is made up
  std::string model;                // a file; empty = the machine that was measured
  std::string devices;              // "A10G:4,T4": beside it
  std::optional<std::string> json;  // a file; empty = stdout
  std::string plot, log;            // files
  std::uint64_t seed = 1;
  std::string seeds;   // "1..10000": scenarios of their own
  int jobs = 0;        // processes for them; 0 = as many as there are cores
  std::string replay;  // a decision log
  bool replays = false;
  bool other_policy = false;  // also a log of another policy version
  int faults = 0;
  bool unchecked = false;  // without the rules that each turn must keep
  bool timed = false;      // says how long the brain's turns took
  std::size_t functions = 10;
  std::size_t tenants = 1;
  double zipf = 1;
  double rate = 1;  // calls a second
  std::optional<Duration> length, sort;
  std::uint64_t requests = 0;
  std::string prompt_tokens, output_tokens;  // MEDIAN or MEDIAN:SIGMA
  std::optional<Duration> burst_every, burst_length, day, period;
  std::optional<double> burst_factor, low;
  double keep = 1;
  std::vector<std::string> policies;  // of plan; empty = all
  std::string starts;                 // of all of them: executed or forked; empty = each its own
};

}  // namespace glowplug::cli
