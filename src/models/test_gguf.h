// Writes tiny GGUF files for tests: valid by default, then bent in one place.
// Thread: one owner.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace glowplug::models {

template <typename T>
std::string raw(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}
inline std::string u32(std::uint32_t value) { return raw(value); }
inline std::string u64(std::uint64_t value) { return raw(value); }
inline std::string text(const std::string& value) { return u64(value.size()) + value; }

struct TestTensor {
  std::string name;
  std::vector<std::uint64_t> dimensions;
  std::uint32_t type = 0;  // F32
  std::uint64_t offset_shift = 0;
};

class TestGguf {
 public:
  TestGguf() {
    set_raw("general.architecture", 8, text("llama"));
    set("llama.block_count", 2).set("llama.embedding_length", 8).set("llama.context_length", 128);
    set("llama.attention.head_count", 2).set("llama.attention.head_count_kv", 1);
    set_raw("tokenizer.ggml.tokens", 9,
            u32(8) + u64(4) + text("a") + text("b") + text("c") + text("d"));
    set_raw("tokenizer.chat_template", 8, text("{{ messages }}"));
    tensors = {{"token_embd.weight", {8, 4}},
               {"blk.0.attn_norm.weight", {8}},
               {"blk.1.attn_norm.weight", {8}}};
  }

  TestGguf& set_raw(const std::string& key, std::uint32_t type, const std::string& value) {
    keys_.push_back({key, u32(type) + value});
    return *this;
  }
  TestGguf& set(const std::string& key, std::uint32_t value) {
    without(key);
    return set_raw(key, 4, u32(value));
  }
  TestGguf& set_array(const std::string& key, const std::vector<std::uint32_t>& values) {
    without(key);
    std::string bytes = u32(4) + u64(values.size());
    for (const std::uint32_t value : values) bytes += u32(value);
    return set_raw(key, 9, bytes);
  }
  TestGguf& without(const std::string& key) {
    std::erase_if(keys_, [&](const Key& each) { return each.name == key; });
    return *this;
  }
  TestGguf& without_tensors() {
    tensors.clear();
    return *this;
  }

  std::string bytes() const {
    std::string out = "GGUF" + u32(3) + u64(tensors.size()) + u64(keys_.size());
    for (const Key& key : keys_) out += text(key.name) + key.value;
    std::uint64_t offset = 0;
    std::uint64_t end = 0;
    for (const TestTensor& tensor : tensors) {
      out += text(tensor.name) + u32(static_cast<std::uint32_t>(tensor.dimensions.size()));
      std::uint64_t elements = 1;
      for (const std::uint64_t size : tensor.dimensions) {
        out += u64(size);
        elements *= size;
      }
      out += u32(tensor.type) + u64(offset + tensor.offset_shift);
      end = offset + std::min<std::uint64_t>(elements * 4, 4096);
      offset = (end + 31) / 32 * 32;
    }
    out.resize((out.size() + 31) / 32 * 32 + end, '\0');
    return out;
  }

  std::vector<TestTensor> tensors;

 private:
  struct Key {
    std::string name;
    std::string value;
  };
  std::vector<Key> keys_;
};

}  // namespace glowplug::models
