// Webhooks as the gateway sees them: endpoints, their secrets, and what became of deliveries.
//
// Implemented by queue/webhook_registry over the state file, and by a double in gateway tests.
// Thread: the server loop; every callback comes back on it.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time_types.h"
#include "storage/webhook_store.h"

namespace glowplug::queue {

inline constexpr std::array<std::string_view, 12> kWebhookEventTypes{
    "job.completed",      "job.failed",      "job.cancelled",       "job.expired",
    "batch.completed",    "batch.failed",    "batch.cancelled",     "batch.expired",
    "response.completed", "response.failed", "response.incomplete", "response.cancelled"};
inline constexpr std::string_view kWebhookTestType = "webhook.test";

inline constexpr std::size_t kWebhookEndpointsMax = 256;
inline constexpr Duration kSecretGraceDefault = std::chrono::hours(24);
inline constexpr Duration kSecretGraceMax = std::chrono::hours(24 * 30);
inline constexpr int kDeliveriesPageMax = 100;

struct WebhookCounts {
  std::uint64_t delivered = 0, again = 0, dead = 0;  // what attempts came to
  std::size_t under_way = 0;
  storage::DeliveryCounts kept{};  // some seconds ago
};

class WebhookAdmin {
 public:
  template <typename T>
  using Done = std::function<void(Result<T>)>;

  virtual ~WebhookAdmin() = default;

  // Whether webhooks may go there, as far as the address tells. Error: invalid_value, `url`.
  virtual Result<void> check_url(std::string_view url) const = 0;

  // The endpoint's secret is in what add() and rotate() give, and nowhere else.
  virtual void list(Done<std::vector<storage::WebhookEndpoint>> done) = 0;
  // Errors: those of check_url, webhook_limit.
  virtual void add(std::string url, std::vector<std::string> events,
                   Done<storage::WebhookEndpoint> done) = 0;
  // The rest give not_found for an id that there is not.
  virtual void remove(std::string id, Done<void> done) = 0;
  virtual void rotate(std::string id, Duration grace, Done<storage::WebhookEndpoint> done) = 0;
  virtual void enable(std::string id, Done<void> done) = 0;
  // An event of kWebhookTestType, for it alone; gives the event's id.
  virtual void test(std::string id, Done<std::string> done) = 0;
  virtual void deliveries(std::string endpoint, storage::DeliveryPage page,
                          Done<std::vector<storage::WebhookDelivery>> done) = 0;
  virtual void replay(std::int64_t delivery, Done<storage::WebhookDelivery> done) = 0;

  virtual WebhookCounts counts() const = 0;

  // Of the queue's clock, to say when something is due.
  virtual std::int64_t queue_ms() const = 0;
};

}  // namespace glowplug::queue
