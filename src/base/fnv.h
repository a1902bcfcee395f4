// FNV-1a of 64 bits: spreads texts evenly, and alike on every machine, which std::hash does not
// promise. Whoever chooses the text can choose the number.
//
// Thread: values.
#pragma once

#include <cstdint>
#include <string_view>

namespace glowplug {

class Fnv final {
 public:
  static constexpr std::uint64_t kBasis = 0xcbf29ce484222325U;

  constexpr explicit Fnv(std::uint64_t state = kBasis) : state_(state) {}

  constexpr void add(std::string_view text) {
    for (const char c : text) step(static_cast<unsigned char>(c));
  }
  // A number as one unit: not what its bytes give one by one.
  constexpr void step(std::uint64_t unit) { state_ = (state_ ^ unit) * 0x100000001b3U; }
  constexpr std::uint64_t value() const { return state_; }

 private:
  std::uint64_t state_;
};

constexpr std::uint64_t fnv(std::string_view text) {
  Fnv hash;
  hash.add(text);
  return hash.value();
}

}  // namespace glowplug
