// One attempt of a webhook's delivery: what is sent, and what its answer makes of the row.
//
// Thread: pure functions.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "models/http_post.h"
#include "policy/webhook_retry.h"
#include "storage/webhook_store.h"

namespace glowplug::queue {

struct WebhookTimes {
  std::int64_t queue_ms = 0;  // of the queue's clock: due times, ends of secrets
  std::int64_t unix_s = 0;    // the time of day that receivers compare with theirs
};

inline constexpr std::int64_t kWebhookKeptMs = std::int64_t{7} * 24 * 3600 * 1000;  // once over

// Signed with each secret of the endpoint that is live; it continues the trace of its call. Error:
// of a secret that is none.
Result<models::PostRequest> webhook_request(const storage::WebhookEndpoint& endpoint,
                                            const storage::WebhookDelivery& delivery,
                                            const WebhookTimes& now);

struct WebhookOutcome {
  storage::WebhookDelivery row;  // as it is now
  policy::WebhookVerdict verdict;
};
// `spread` is any number that differs from one delivery to the next.
WebhookOutcome webhook_outcome(storage::WebhookDelivery delivery, const models::PostReply& reply,
                               std::int64_t queue_ms, std::uint64_t spread);

}  // namespace glowplug::queue
