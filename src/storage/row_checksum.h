// A checksum over the columns of a row that must not be wrong unnoticed: results and usage. SQLite
// finds a damaged page only where its structure is hurt; what is inside a value it does not look
// at.
//
//   RowChecksum().add(id).add(body).value()   the same columns in the same order, always
//
// Each column goes in with its length, so that no two rows read alike by moving a border. Any
// change of a single byte changes it. It is no defence against an attacker.
//
// Thread: values.
#pragma once

#include <concepts>
#include <cstdint>
#include <string_view>

#include "base/fnv.h"

namespace glowplug::storage {

class RowChecksum final {
 public:
  RowChecksum& add(std::string_view bytes) {
    hash_.step(bytes.size());
    hash_.add(bytes);
    return *this;
  }
  template <std::integral T>
  RowChecksum& add(T number) {
    hash_.step(static_cast<std::uint64_t>(number));
    return *this;
  }
  std::int64_t value() const {
    return static_cast<std::int64_t>(hash_.value());
  }  // as it is stored

 private:
  Fnv hash_;
};

}  // namespace glowplug::storage
