// How the built-in engine computes: what an owner may set, what `glowplug tune` tries, and what it
// found. None of it changes what a function is; kv: q8_0 alone may change a word of an answer.
//
// Thread: values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace glowplug::domain {

// Whether weights are laid out anew for this CPU while they load.
enum class Repack { Auto, On, Off };
// What an element of the KV cache is.
enum class KvType { Auto, F16, Q8_0 };

constexpr std::string_view to_string(Repack repack) {
  return repack == Repack::Auto ? "auto" : repack == Repack::On ? "on" : "off";
}
constexpr std::string_view to_string(KvType kv) {
  return kv == KvType::Auto ? "auto" : kv == KvType::F16 ? "f16" : "q8_0";
}

// `tuning:` of a manifest. What auto stands for: docs/decisions/0007-engine-settings.md.
struct Tuning {
  int batch = 0;  // tokens that one step may take; 0 = auto
  Repack repack = Repack::Auto;
  KvType kv = KvType::Auto;
  friend bool operator==(const Tuning&, const Tuning&) = default;
};

struct EngineSettings {
  int threads = 0;  // 0 = auto: all cores, or a share of them while others are busy
  Tuning tuning;
  friend bool operator==(const EngineSettings&, const EngineSettings&) = default;
};

struct Spread {
  double median = 0, low = 0, high = 0;
  friend bool operator==(const Spread&, const Spread&) = default;
};

// What one process measured with one choice of settings.
struct Figures {
  Spread prefill;  // tokens per second of reading a prompt
  Spread decode;   // of answering
  int rounds = 0;
  double load_ms = 0;               // from the program's start until the model was loaded
  std::uint64_t private_bytes = 0;  // anonymous memory with the context full
  int batch = 0;                    // what the settings came to
  bool repacked = false;
  friend bool operator==(const Figures&, const Figures&) = default;
};

struct Trial {
  EngineSettings settings;
  std::string file_type;  // of a file of the same shape; empty = the function's own file
  std::optional<Figures> figures;
  std::string error;  // why there are none
  friend bool operator==(const Trial&, const Trial&) = default;
};

// The file of another type that is much faster; deployed by its source.
struct FasterFile {
  std::string file_type, source;
  double times = 0;  // as fast
  friend bool operator==(const FasterFile&, const FasterFile&) = default;
};

// One measurement of a function, kept with the revision that it was made of.
struct TuneResult {
  int cores = 0;            // of the machine; on another one the choice says nothing
  int calls_meanwhile = 0;  // the figures are of a busy machine when it is not 0
  EngineSettings choice;
  std::vector<Trial> trials;
  std::optional<FasterFile> faster_file;
  friend bool operator==(const TuneResult&, const TuneResult&) = default;
};

}  // namespace glowplug::domain
