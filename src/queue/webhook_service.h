// Delivers webhooks: reads what is due, sends it, records what came of it.
//
//   outbox (in the transaction of a job's end) ─▶ rows ─▶ tick: due rows, endpoint by endpoint
//        ─▶ HttpPost ─▶ webhook_outcome ─▶ row, in a transaction of its own ─▶ tick
//
// At least once: a row is pending until its outcome is on the disk, so what was under way when a
// server ended is sent again by the next, with the same event id.
//
// No target can slow another: each endpoint has kWebhooksPerEndpoint of the places and so has each
// host; one that is silent or overloaded rests for longer each time (policy/webhook_retry.h); rows
// are read for places that are free, so a target that takes nothing keeps its backlog on the disk.
// An endpoint whose rows each name their own address (those of jobs) shares its places among hosts:
// a row whose host has none left is put off.
//
// Thread: the server loop, callbacks too, but for what emit() gives: that runs wherever the
// transaction does.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "models/http_post.h"
#include "queue/webhook_admin.h"
#include "queue/webhook_sender.h"
#include "storage/read_loop.h"
#include "storage/write_loop.h"

namespace glowplug::queue {

inline constexpr int kWebhooksPerEndpoint = 2;  // under way at once, and so many to one host
inline constexpr int kWebhooksOfJobs = 16;      // of addresses that jobs name, together
inline constexpr int kWebhooksMax = 256;        // of all

struct WebhookEvent {
  std::string type;              // of kWebhookEventTypes
  std::string object_id;         // of the job, batch or response
  std::string url = {};          // of the job itself; often empty
  std::string traceparent = {};  // of the call that made it; often empty
};
// To be called inside the transaction that ends what `event` is about; after its commit the
// service's poke().
using EmitWebhook = std::function<Result<void>(storage::Database&, const WebhookEvent& event)>;

// A new event as it is stored: a thin body, and an id of its own.
storage::WebhookEventRow webhook_event_row(const WebhookEvent& event, std::int64_t queue_ms,
                                           std::int64_t wall_ms);

class WebhookService final {
 public:
  struct Parts {
    storage::WriteLoop& writes;
    storage::ReadLoop& reads;
    models::HttpPost& posts;
    const Clock& clock;
    std::function<std::int64_t()> queue_ms;  // queue's clock; from any thread
    // Calls back once after this long, on the loop; replaces what it was asked before.
    std::function<void(Duration after, std::function<void()> then)> wake;
    // Of a URL: scheme, host and port, so that one host is known in several addresses.
    std::function<std::string(const std::string& url)> host_of;
    std::uint64_t seed = 0;
  };
  explicit WebhookService(Parts parts);
  ~WebhookService();

  void
  start();      // first makes the secret that jobs' own addresses are signed with, if there is none
  void poke();  // something may be due
  EmitWebhook emit() const;
  WebhookCounts counts() const { return counts_; }

 private:
  struct Rest {
    int in_a_row = 0;
    std::int64_t until_ms = 0;
  };
  struct Picked {
    storage::WebhookEndpoint endpoint;
    storage::DueDeliveries due;
  };
  struct Reading;

  void look();
  static Result<void> read_due(storage::Database& database, Reading& reading);
  std::vector<const Picked*> in_turn(const Reading& reading) const;
  void send_due(const Reading& reading);
  void send(const storage::WebhookEndpoint& endpoint, const storage::WebhookDelivery& row,
            const std::string& host);
  void heard(const storage::WebhookDelivery& row, const std::string& host,
             const models::PostReply& reply);
  void record(const WebhookOutcome& outcome, const std::string& host);
  void put_off(std::vector<std::pair<std::int64_t, std::int64_t>> rows);  // until when, each
  void sleep_until(std::int64_t ms);

  const Parts parts_;
  std::set<std::int64_t> under_way_;  // deliveries
  std::string served_;                // the endpoint that something went to last
  std::map<std::string, int> per_endpoint_, per_host_;
  std::map<std::string, Rest> rests_;  // by endpoint, or host of a job's own address
  bool looking_ = false, look_again_ = false;
  WebhookCounts counts_;
  std::optional<std::int64_t> counted_ms_;                      // when the rows were
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // owners: this, its callbacks
};

}  // namespace glowplug::queue
