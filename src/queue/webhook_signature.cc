#include "queue/webhook_signature.h"

#include <array>
#include <optional>
#include <vector>

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include "domain/errors.h"

namespace glowplug::queue {
namespace {

constexpr std::size_t kNewSecretBytes = 32;
constexpr std::size_t kIdBytes = 12;

std::string to_base64(std::span<const std::uint8_t> bytes) {
  std::string text(4 * ((bytes.size() + 2) / 3), '\0');
  // It also writes a NUL, for which a string has room.
  EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()), bytes.data(),
                  static_cast<int>(bytes.size()));
  return text;
}

// Nothing where it is not base64 of whole groups, padded.
std::optional<std::vector<std::uint8_t>> from_base64(std::string_view text) {
  if (text.empty() || text.size() % 4 != 0) return std::nullopt;
  std::vector<std::uint8_t> bytes(text.size() / 4 * 3);
  const int size =
      EVP_DecodeBlock(bytes.data(), reinterpret_cast<const unsigned char*>(text.data()),
                      static_cast<int>(text.size()));
  if (size < 0) return std::nullopt;
  const std::size_t padding = text.size() - (text.find_last_not_of('=') + 1);
  if (padding > 2) return std::nullopt;
  bytes.resize(static_cast<std::size_t>(size) - padding);
  return bytes;
}

std::optional<std::vector<std::uint8_t>> key_of(std::string_view secret) {
  if (!secret.starts_with(kWebhookSecretPrefix)) return std::nullopt;
  auto key = from_base64(secret.substr(kWebhookSecretPrefix.size()));
  if (!key || key->size() < kWebhookSecretBytesMin || key->size() > kWebhookSecretBytesMax)
    return std::nullopt;
  return key;
}

template <std::size_t kBytes>
std::array<std::uint8_t, kBytes> random_bytes() {
  std::array<std::uint8_t, kBytes> bytes{};
  GLOWPLUG_ASSERT(RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) == 1);
  return bytes;
}

}  // namespace

Result<std::string> webhook_signature(std::span<const std::string> secrets, std::string_view id,
                                      std::int64_t timestamp_s, std::string_view body) {
  const std::string content = fmt::format("{}.{}.{}", id, timestamp_s, body);
  std::string signatures;
  for (const std::string& secret : secrets) {
    const auto key = key_of(secret);
    if (!key)
      return Error{
          std::string(domain::error::kInvalidValue),
          fmt::format("a webhook secret is {} and base64 of {} to {} bytes", kWebhookSecretPrefix,
                      kWebhookSecretBytesMin, kWebhookSecretBytesMax),
          "secret"};
    std::array<std::uint8_t, EVP_MAX_MD_SIZE> digest{};
    unsigned int size = 0;
    GLOWPLUG_ASSERT(HMAC(EVP_sha256(), key->data(), static_cast<int>(key->size()),
                         reinterpret_cast<const unsigned char*>(content.data()), content.size(),
                         digest.data(), &size) != nullptr);
    fmt::format_to(std::back_inserter(signatures), "{}v1,{}", signatures.empty() ? "" : " ",
                   to_base64({digest.data(), size}));
  }
  return signatures;
}

std::string new_webhook_secret() {
  return std::string(kWebhookSecretPrefix) + to_base64(random_bytes<kNewSecretBytes>());
}

std::string new_webhook_id(std::string_view prefix) {
  std::string id(prefix);
  for (const std::uint8_t byte : random_bytes<kIdBytes>())
    fmt::format_to(std::back_inserter(id), "{:02x}", byte);
  return id;
}

}  // namespace glowplug::queue
