#include "models/aead.h"

#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace glowplug::models {
namespace {

using Bytes = std::vector<std::uint8_t>;

std::string hex(std::span<const std::uint8_t> bytes) {
  std::string text;
  for (const std::uint8_t byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

SecretKey key_from(std::string_view digits) {
  SecretKey key;
  for (std::size_t i = 0; i < SecretKey::kBytes; ++i)
    key.bytes()[i] =
        static_cast<std::uint8_t>(std::stoi(std::string(digits.substr(2 * i, 2)), nullptr, 16));
  return key;
}

struct Sealed {
  Bytes bytes;
  AeadTag tag{};
};

Sealed seal(const SecretKey& key, std::string_view context, Bytes bytes) {
  AeadStream stream(AeadUse::Seal, key, AeadNonce{});
  stream.add_context(context);
  stream.apply(bytes);
  return {std::move(bytes), stream.tag()};
}

bool opens(const SecretKey& key, std::string_view context, Sealed sealed) {
  AeadStream stream(AeadUse::Open, key, AeadNonce{});
  stream.add_context(context);
  stream.apply(sealed.bytes);
  return stream.authentic(sealed.tag);
}

TEST(Aead, ZeroKeyAndText_GivesTheTestVectorOfGcm) {
  const Sealed sealed = seal(SecretKey(), "", Bytes(16, 0));  // GCM specification, test case 14
  EXPECT_EQ(hex(sealed.bytes), "cea7403d4d606b6e074ec5d3baf39d18");
  EXPECT_EQ(hex(sealed.tag), "d0d1c8a799996bf0265b98b5d48ab919");
}

TEST(Aead, DerivedKey_IsTheTestVectorOfHkdfExpand) {
  const SecretKey parent =
      key_from("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5");
  EXPECT_EQ(hex(derive_key(parent, "\xf0\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8\xf9").bytes()),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf");  // RFC 5869 A.1
}

TEST(Aead, InPieces_SealsTheSameAsAtOnce) {
  const SecretKey key = SecretKey::random();
  Bytes bytes(1000, 7);
  const Sealed at_once = seal(key, "context", bytes);
  AeadStream stream(AeadUse::Seal, key, AeadNonce{});
  stream.add_context("context");
  for (std::size_t from = 0; from < bytes.size(); from += 333)
    stream.apply(std::span(bytes).subspan(from, std::min<std::size_t>(333, bytes.size() - from)));
  EXPECT_EQ(bytes, at_once.bytes);
  EXPECT_EQ(stream.tag(), at_once.tag);
}

TEST(Aead, AnythingChanged_IsNotAuthentic) {
  const SecretKey key = SecretKey::random();
  const Sealed sealed = seal(key, "context", Bytes(40, 7));
  EXPECT_TRUE(opens(key, "context", sealed));
  EXPECT_FALSE(opens(SecretKey::random(), "context", sealed));
  EXPECT_FALSE(opens(key, "context.", sealed));
  for (std::size_t i = 0; i < sealed.bytes.size(); ++i) {
    Sealed changed = sealed;
    changed.bytes[i] ^= 1;
    EXPECT_FALSE(opens(key, "context", changed)) << i;
  }
  for (std::size_t i = 0; i < sealed.tag.size(); ++i) {
    Sealed changed = sealed;
    changed.tag[i] ^= 0x80;
    EXPECT_FALSE(opens(key, "context", changed)) << i;
  }
}

TEST(Aead, OtherContext_DerivesAnotherKey) {
  const SecretKey parent = SecretKey::random();
  EXPECT_NE(hex(derive_key(parent, "a").bytes()), hex(derive_key(parent, "b").bytes()));
  EXPECT_NE(hex(derive_key(parent, "a").bytes()), hex(parent.bytes()));
}

}  // namespace
}  // namespace glowplug::models
