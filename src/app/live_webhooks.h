// Webhooks of a running server: the service that delivers them, the registry that the gateway asks,
// and the transfers, on the server loop.
//
// Thread: the server loop; what it is given outlives it.
#pragma once

#include <cstdint>
#include <functional>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "base/clock.h"
#include "models/http_post.h"
#include "queue/webhook_registry.h"
#include "queue/webhook_service.h"

namespace glowplug::app {

class LiveWebhooks final {
 public:
  struct Parts {
    boost::asio::io_context& loop;
    storage::WriteLoop& writer;
    storage::ReadLoop& reader;
    const Clock& clock;
    std::function<std::int64_t()> queue_ms;  // from any thread
    models::TargetRule rule;
    std::uint64_t seed = 0;
  };
  explicit LiveWebhooks(Parts parts);

  void start() { service_.start(); }
  queue::WebhookAdmin& admin() { return registry_; }
  queue::WebhookService& service() { return service_; }

 private:
  boost::asio::steady_timer timer_;
  models::CurlHttpPost posts_;
  queue::WebhookService service_;
  queue::WebhookRegistry registry_;
};

}  // namespace glowplug::app
