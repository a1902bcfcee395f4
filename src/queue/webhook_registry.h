// WebhookAdmin over the state file: reads on the reader's thread, changes on the writer's.
//
// Thread: the server loop; what it is given outlives it.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "models/target_rule.h"
#include "queue/webhook_admin.h"
#include "storage/read_loop.h"
#include "storage/write_loop.h"

namespace glowplug::queue {

class WebhookRegistry final : public WebhookAdmin {
 public:
  struct Parts {
    storage::WriteLoop& writes;
    storage::ReadLoop& reads;
    const Clock& clock;
    std::function<std::int64_t()> queue_ms;
    models::TargetRule rule;
    std::function<void()> changed;  // something may be due (WebhookService::poke)
    std::function<WebhookCounts()> counts;
  };
  explicit WebhookRegistry(Parts parts) : parts_(std::move(parts)) {}

  Result<void> check_url(std::string_view url) const override;
  void list(Done<std::vector<storage::WebhookEndpoint>> done) override;
  void add(std::string url, std::vector<std::string> events,
           Done<storage::WebhookEndpoint> done) override;
  void remove(std::string id, Done<void> done) override;
  void rotate(std::string id, Duration grace, Done<storage::WebhookEndpoint> done) override;
  void enable(std::string id, Done<void> done) override;
  void test(std::string id, Done<std::string> done) override;
  void deliveries(std::string endpoint, storage::DeliveryPage page,
                  Done<std::vector<storage::WebhookDelivery>> done) override;
  void replay(std::int64_t delivery, Done<storage::WebhookDelivery> done) override;
  WebhookCounts counts() const override { return parts_.counts(); }
  std::int64_t queue_ms() const override { return parts_.queue_ms(); }

 private:
  template <typename T>
  void write(std::function<Result<T>(storage::Database&)> work, Done<T> done);

  const Parts parts_;
};

}  // namespace glowplug::queue
