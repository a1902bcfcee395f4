#include "queue/webhook_sender.h"

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "queue/webhook_signature.h"

namespace glowplug::queue {
namespace {

using policy::WebhookFate;
using storage::WebhookState;

std::string said(const models::PostReply& reply) {
  if (reply.status == 0) return reply.failure;
  if (reply.status >= 300 && reply.status < 400)
    return fmt::format("it answered {}, and redirects are not followed", reply.status);
  if (reply.status == 410) return "it answered 410: it is gone for good";
  return fmt::format("it answered {}", reply.status);
}

}  // namespace

Result<models::PostRequest> webhook_request(const storage::WebhookEndpoint& endpoint,
                                            const storage::WebhookDelivery& delivery,
                                            const WebhookTimes& now) {
  std::vector<std::string> secrets{endpoint.secret};
  if (!endpoint.old_secret.empty() && endpoint.old_until_ms > now.queue_ms)
    secrets.push_back(endpoint.old_secret);
  const Result<std::string> signature =
      webhook_signature(secrets, delivery.event_id, now.unix_s, delivery.payload);
  if (!signature) return signature.error();
  models::PostRequest request{
      .url = delivery.url.empty() ? endpoint.url : delivery.url,
      .headers = {"content-type: application/json", "webhook-id: " + delivery.event_id,
                  fmt::format("webhook-timestamp: {}", now.unix_s),
                  "webhook-signature: " + *signature},
      .body = delivery.payload};
  if (!delivery.traceparent.empty())
    request.headers.push_back("traceparent: " + delivery.traceparent);
  return request;
}

WebhookOutcome webhook_outcome(storage::WebhookDelivery delivery, const models::PostReply& reply,
                               std::int64_t queue_ms, std::uint64_t spread) {
  const policy::WebhookVerdict verdict = policy::judge_webhook(
      {.status = reply.status, .retry_after = reply.retry_after}, ++delivery.attempts, spread);
  delivery.last_status = reply.status;
  delivery.last_error = verdict.fate == WebhookFate::Delivered ? "" : said(reply);
  delivery.state = verdict.fate == WebhookFate::Delivered ? WebhookState::Delivered
                   : verdict.fate == WebhookFate::Dead    ? WebhookState::Dead
                                                          : WebhookState::Pending;
  delivery.next_ms =
      queue_ms + (verdict.fate == WebhookFate::Again
                      ? std::chrono::duration_cast<std::chrono::milliseconds>(verdict.after).count()
                      : kWebhookKeptMs);
  return {std::move(delivery), verdict};
}

}  // namespace glowplug::queue
