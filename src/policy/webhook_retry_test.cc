#include "policy/webhook_retry.h"

#include <set>

#include <gtest/gtest.h>

namespace glowplug::policy {
namespace {

WebhookVerdict judge(int status, int attempts = 1) {
  return judge_webhook({.status = status, .retry_after = {}}, attempts, 0);
}

TEST(WebhookRetry, OnlySuccess_IsDelivered) {
  for (const int status : {200, 201, 202, 204, 299})
    EXPECT_EQ(judge(status).fate, WebhookFate::Delivered) << status;
  for (const int status : {0, 101, 199, 300, 301, 302, 307, 308, 400, 401, 404, 429, 500, 503, 600})
    EXPECT_EQ(judge(status).fate, WebhookFate::Again) << status;
}

TEST(WebhookRetry, Failures_FollowTheScheduleAndEndWithIt) {
  for (int attempts = 1; attempts < kWebhookAttemptsMax; ++attempts) {
    const WebhookVerdict verdict = judge(500, attempts);
    EXPECT_EQ(verdict.fate, WebhookFate::Again);
    EXPECT_EQ(verdict.after, kWebhookSchedule[static_cast<std::size_t>(attempts)]) << attempts;
  }
  EXPECT_EQ(judge(500, kWebhookAttemptsMax).fate, WebhookFate::Dead);
  EXPECT_EQ(judge(200, kWebhookAttemptsMax).fate, WebhookFate::Delivered);
}

TEST(WebhookRetry, Spread_MovesByATenthAtMostAndNotAllAlike) {
  std::set<Duration> seen;
  for (std::uint64_t spread = 0; spread < 1000; ++spread) {
    const Duration after = judge_webhook({.status = 500, .retry_after = {}}, 3, spread).after;
    EXPECT_GE(after, 30min);
    EXPECT_LE(after, 33min);
    seen.insert(after);
  }
  EXPECT_GT(seen.size(), 900U);
}

TEST(WebhookRetry, RetryAfter_IsKeptWithinADayAndNeverShortensTheSchedule) {
  const auto after = [](Duration asked, int attempts) {
    return judge_webhook({.status = 503, .retry_after = asked}, attempts, 0).after;
  };
  EXPECT_EQ(after(60s, 1), 60s);
  EXPECT_EQ(after(1s, 1), 5s);
  EXPECT_EQ(after(-5s, 1), 5s);
  EXPECT_EQ(after(60s, 4), 2h);
  EXPECT_EQ(after(24h * 365, 1), 24h);
}

TEST(WebhookRetry, Gone_DisablesTheEndpointAtOnce) {
  const WebhookVerdict verdict = judge(410);
  EXPECT_EQ(verdict.fate, WebhookFate::Dead);
  EXPECT_TRUE(verdict.disables_endpoint);
  EXPECT_FALSE(judge(404).disables_endpoint);
}

TEST(WebhookRetry, SilenceAndOverload_RestTheEndpoint) {
  for (const int status : {0, 429, 502, 504}) EXPECT_TRUE(judge(status).rests_endpoint) << status;
  for (const int status : {200, 301, 400, 410, 500, 503})
    EXPECT_FALSE(judge(status).rests_endpoint) << status;
}

TEST(WebhookRetry, Rest_DoublesUpToFiveMinutesOrIsWhatWasAsked) {
  EXPECT_EQ(webhook_rest(1, {}), 5s);
  EXPECT_EQ(webhook_rest(2, {}), 10s);
  EXPECT_EQ(webhook_rest(4, {}), 40s);
  EXPECT_EQ(webhook_rest(50, {}), 5min);
  EXPECT_EQ(webhook_rest(1, 30s), 30s);
  EXPECT_EQ(webhook_rest(4, 30s), 40s);
  EXPECT_EQ(webhook_rest(1, 2h), 5min);
}

}  // namespace
}  // namespace glowplug::policy
