#include "policy/webhook_retry.h"

#include <algorithm>

namespace glowplug::policy {
namespace {

constexpr int kGone = 410;
constexpr int kDoublingsMax = 10;  // far beyond the most
constexpr std::uint64_t kParts = 1024;

// Only 2xx says that it has arrived; a redirect is never followed.
bool has_arrived(int status) { return status >= 200 && status < 300; }

bool asks_for_rest(int status) {
  return status == 0 || status == 429 || status == 502 || status == 504;
}

}  // namespace

WebhookVerdict judge_webhook(const WebhookAnswer& answer, int attempts, std::uint64_t spread) {
  WebhookVerdict verdict;
  if (has_arrived(answer.status)) return verdict;
  verdict.disables_endpoint = answer.status == kGone;
  verdict.rests_endpoint = asks_for_rest(answer.status);
  verdict.fate = verdict.disables_endpoint || attempts >= kWebhookAttemptsMax ? WebhookFate::Dead
                                                                              : WebhookFate::Again;
  if (verdict.fate == WebhookFate::Dead) return verdict;
  const Duration asked =
      std::clamp(answer.retry_after.value_or(0s), Duration(0), kWebhookRetryAfterMax);
  const auto step = static_cast<std::size_t>(std::clamp(attempts, 1, kWebhookAttemptsMax - 1));
  const Duration base = std::max(kWebhookSchedule[step], asked);
  verdict.after = base + base / 10 / kParts * static_cast<std::int64_t>(spread % kParts);
  return verdict;
}

Duration webhook_rest(int in_a_row, std::optional<Duration> retry_after) {
  const int doublings = std::clamp(in_a_row - 1, 0, kDoublingsMax);
  const Duration grown = kWebhookSchedule[1] * (1 << doublings);
  return std::min(std::max(grown, retry_after.value_or(0s)), kWebhookRestMax);
}

}  // namespace glowplug::policy
