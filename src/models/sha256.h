// SHA-256 of bytes and files; in models/, OpenSSL is known to its .cc and to aead.cc alone.
//
// Thread: one owner per hasher.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace glowplug::models {

class Sha256 final {
 public:
  Sha256();
  ~Sha256();
  void add(const void* data, std::size_t bytes);
  std::string hex();  // lower case; ends the hasher

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

std::string sha256_hex(std::string_view text);

// Reads the whole file. `step` gets the bytes hashed so far and stops the work by returning false;
// the result is then the empty string.
Result<std::string> sha256_file(const std::string& path,
                                const std::function<bool(std::uint64_t)>& step);

}  // namespace glowplug::models
