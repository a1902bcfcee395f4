// A slot's state as the engine writes and reads it: a head with the slot's packed tokens, then each
// of its caches. Of a cache the engine itself writes the cells that are seen from the slot's end;
// here all of them are written.
//
// Thread: the engine's. Errors are thrown: a file that cannot be written, an engine that writes
// another format.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <vector>

#include "llama-io.h"
#include "llama.h"

class llama_kv_cache;

namespace glowplug::worker {

class StateFile final : public llama_io_write_i {
 public:
  StateFile(const char* path, const llama_token* packed, std::size_t count);

  void write(const void* bytes, std::size_t size) override;
  void write_tensor(ggml_tensor* tensor, std::size_t offset, std::size_t size) override;
  std::size_t n_bytes() override { return written_; }

  template <typename Number>
  void number(Number value) {
    write(&value, sizeof value);
  }
  std::size_t close();  // the bytes of all of it

 private:
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
  std::size_t written_ = 0;
  std::vector<std::uint8_t> piece_;
};

// How many of the slot's tokens a cache holds.
[[nodiscard]] std::uint32_t count_cells(const llama_kv_cache& cache, llama_seq_id slot);
void write_cells(StateFile& out, const llama_kv_cache& cache, llama_seq_id slot);

}  // namespace glowplug::worker
