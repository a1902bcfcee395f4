// Authenticated encryption (AES-256-GCM) of bytes in a stream, and keys for it; its .cc is, beside
// sha256.cc, the only file here that names OpenSSL.
//
// What is opened is not known to be genuine before authentic() says so: whoever opens keeps the
// bytes to himself until then.
//
// Thread: values and streams with one owner each.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace glowplug::models {

inline constexpr std::size_t kTagBytes = 16;

using AeadTag = std::array<std::uint8_t, kTagBytes>;
using AeadNonce = std::array<std::uint8_t, 12>;  // never twice under one key

// Wiped when it goes.
class SecretKey final {
 public:
  static constexpr std::size_t kBytes = 32;

  SecretKey() = default;
  SecretKey(const SecretKey&) = default;
  SecretKey& operator=(const SecretKey&) = default;
  ~SecretKey();

  static SecretKey random();
  std::span<std::uint8_t> bytes() { return bytes_; }
  std::span<const std::uint8_t> bytes() const { return bytes_; }

 private:
  std::array<std::uint8_t, kBytes> bytes_{};
};

void fill_random(std::span<std::uint8_t> bytes);

// HKDF-Expand of RFC 5869: a key of its own for each `context` (what it is for, and a salt).
SecretKey derive_key(const SecretKey& parent, std::string_view context);

enum class AeadUse { Seal, Open };

class AeadStream final {
 public:
  AeadStream(AeadUse use, const SecretKey& key, const AeadNonce& nonce);
  AeadStream(const AeadStream&) = delete;
  AeadStream& operator=(const AeadStream&) = delete;
  ~AeadStream();

  void add_context(std::string_view bytes);          // authenticated, not encrypted; before apply()
  void apply(std::span<std::uint8_t> bytes);         // in place
  AeadTag tag();                                     // ends a sealing stream
  [[nodiscard]] bool authentic(const AeadTag& tag);  // ends an opening stream

 private:
  void* context_;  // EVP_CIPHER_CTX
  AeadUse use_;
};

}  // namespace glowplug::models
