// What an attempt to deliver a webhook leads to: delivered, another attempt and when, or the dead
// ones; and when the whole endpoint gets a rest.
//
// The schedule is that of the Standard Webhooks specification: ten attempts over three days. A
// receiver that says when (Retry-After) is not asked earlier. One that is not there, or that says
// it has too much to do, rests as a whole, so that what waits for it takes no place of others.
//
// Thread: pure functions.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>

#include "base/time_types.h"

namespace glowplug::policy {

using namespace std::chrono_literals;

// From the attempt before to this one; the first is made at once.
inline constexpr std::array<Duration, 10> kWebhookSchedule{0s, 5s,  5min, 30min, 2h,
                                                           5h, 10h, 14h,  20h,   24h};
inline constexpr int kWebhookAttemptsMax = static_cast<int>(kWebhookSchedule.size());
inline constexpr Duration kWebhookRetryAfterMax = 24h;  // a longer Retry-After is taken for this
inline constexpr Duration kWebhookRestMax = 5min;       // of an endpoint, between two attempts

struct WebhookAnswer {
  int status = 0;  // 0: none came, or the address is not allowed
  std::optional<Duration> retry_after;
};

enum class WebhookFate { Delivered, Again, Dead };

struct WebhookVerdict {
  WebhookFate fate = WebhookFate::Delivered;
  Duration after{};                // Again: until the next attempt
  bool disables_endpoint = false;  // it said that it is gone for good
  bool rests_endpoint = false;     // see webhook_rest
};

// After the attempt that is the `attempts`-th, from 1. `spread` moves the next one by up to a tenth
// later, so that what failed together does not come back together.
WebhookVerdict judge_webhook(const WebhookAnswer& answer, int attempts, std::uint64_t spread);

// How long nothing goes to an endpoint whose attempts said so `in_a_row` times, from 1: 5 s, then
// twice as long each time, or what it asked for; kWebhookRestMax at most.
Duration webhook_rest(int in_a_row, std::optional<Duration> retry_after);

}  // namespace glowplug::policy
