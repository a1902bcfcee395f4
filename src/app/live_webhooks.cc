#include "app/live_webhooks.h"

#include <utility>

#include <boost/asio/post.hpp>

#include "models/http_transfer.h"

namespace glowplug::app {

LiveWebhooks::LiveWebhooks(Parts parts)
    : timer_(parts.loop),
      posts_({.rule = parts.rule,
              .deliver =
                  [&loop = parts.loop](std::function<void()> call) {
                    boost::asio::post(loop, std::move(call));
                  }}),
      service_({.writes = parts.writer,
                .reads = parts.reader,
                .posts = posts_,
                .clock = parts.clock,
                .queue_ms = parts.queue_ms,
                .wake =
                    [this](Duration after, std::function<void()> then) {
                      timer_.expires_after(after);
                      timer_.async_wait(
                          [then = std::move(then)](const boost::system::error_code& error) {
                            if (!error) then();
                          });
                    },
                .host_of = models::host_of,
                .seed = parts.seed}),
      registry_({.writes = parts.writer,
                 .reads = parts.reader,
                 .clock = parts.clock,
                 .queue_ms = parts.queue_ms,
                 .rule = std::move(parts.rule),
                 .changed = [this] { service_.poke(); },
                 .counts = [this] { return service_.counts(); }}) {}

}  // namespace glowplug::app
