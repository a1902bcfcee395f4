// What a model file's header says, read without the engine. Sizes decide admission before anything
// is loaded. Thread: a value.
#pragma once

#include <cstdint>
#include <string>

namespace glowplug::domain {

struct ModelFacts {
  std::string path;    // the verified file on this machine; empty for process and fake engines
  std::string sha256;  // lower-case hex of the whole file
  std::string architecture;  // general.architecture
  std::uint64_t file_bytes = 0;
  std::uint64_t weight_bytes = 0;        // tensor data
  std::uint64_t kv_bytes_per_token = 0;  // f16 K and V over all layers, full windows
  std::uint64_t vocabulary = 0;          // tokens
  int context_trained = 0;               // tokens
  int embedding_length = 0;
  std::string chat_template;  // the file's own Jinja template; empty when it has none
};

}  // namespace glowplug::domain
