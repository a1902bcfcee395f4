// Signatures of webhooks as the Standard Webhooks specification has them, version 1: HMAC-SHA256
// over "id.timestamp.body", so that a receiver can tell who has sent a body, and when. The OpenAI
// SDKs check exactly these (client.webhooks.unwrap).
//
// A secret is 24 to 64 random bytes, written "whsec_" and base64. Its .cc alone names OpenSSL here.
//
// Thread: pure functions, but for new_webhook_secret and new_webhook_id, which draw random bytes
// and may be called from any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace glowplug::queue {

inline constexpr std::string_view kWebhookSecretPrefix = "whsec_";
inline constexpr std::size_t kWebhookSecretBytesMin = 24;
inline constexpr std::size_t kWebhookSecretBytesMax = 64;

// "v1,<base64>" for each secret, a blank between two: a receiver takes any that fits. Error:
// invalid_value, of a secret that is none.
Result<std::string> webhook_signature(std::span<const std::string> secrets, std::string_view id,
                                      std::int64_t timestamp_s, std::string_view body);

std::string new_webhook_secret();
// `prefix` and 24 random hexadecimal digits.
std::string new_webhook_id(std::string_view prefix);

}  // namespace glowplug::queue
