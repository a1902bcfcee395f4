// The HTTP edge: two listeners, one ordered route table, and a relay from a granted replica to its
// caller.
//
// It knows HTTP and the OpenAI and Anthropic formats; which replica answers, and when, the platform
// decides. Nothing here stores anything. The io_context must not run handlers after this object is
// gone.
//
// Thread: the server loop.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "control/cache_admin.h"
#include "control/platform.h"
#include "domain/limits.h"
#include "domain/manifest.h"
#include "domain/price.h"
#include "metering/usage_ledger.h"
#include "queue/job_runner.h"
#include "queue/webhook_admin.h"
#include "runtime/numa_probe.h"

namespace boost::asio {
class io_context;
}

namespace glowplug::queue {
class BatchService;
class FileStore;
}  // namespace glowplug::queue

namespace glowplug::gateway {

struct ListenAddress {
  std::string host = "127.0.0.1";
  int port = 0;
  friend bool operator==(const ListenAddress&, const ListenAddress&) = default;
};

// Reads "127.0.0.1:4569", "[::1]:4569", "localhost:4569" and ":4569" (loopback).
Result<ListenAddress> parse_listen(std::string_view text);

}  // namespace glowplug::gateway

namespace glowplug::queue {
class JobService;
}

namespace glowplug::gateway {

struct GatewayOptions {
  ListenAddress listen;
  ListenAddress admin_listen;
  bool process_engines_allowed = false;
  std::string version;
  std::string engine_commit;
  std::function<Result<domain::Manifest>(std::string_view text, std::string_view expected_name)>
      read_manifest;
  std::function<bool(std::string_view name)> in_catalogue;
  std::function<std::uint64_t(domain::ProcessId)>
      memory_of;  // bytes resident now; 0 or absent = the reservation
  std::string openapi_yaml;
  control::CacheAdmin* cache = nullptr;     // null = no model cache to show
  queue::WebhookAdmin* webhooks = nullptr;  // null = this server sends none
  queue::FileStore* files = nullptr;        // null = it keeps none
  queue::BatchService* batches = nullptr;
  metering::UsageLedger* usage = nullptr;  // null = nothing is metered
  domain::PriceTable prices = domain::default_prices();
  queue::JobService* jobs = nullptr;               // null = no durable queue; Gateway::set_jobs
  Duration replica_pulse = domain::kReplicaPulse;  // between two signs of life that are asked for
  int cores = 1;
  std::vector<runtime::NumaNode> numa_nodes;  // of this machine
};

struct Server;
class CallCounts;

class Gateway final {
 public:
  Gateway(boost::asio::io_context& io, GatewayOptions options, control::Platform& platform,
          const Clock& clock);
  ~Gateway();

  // Binds both listeners; port 0 takes a free one. Public addresses are refused while no key
  // exists.
  Result<void> open();
  // Before open(): the queue needs the job runner of this object, and this needs the queue.
  void set_jobs(queue::JobService& jobs);
  void set_webhooks(queue::WebhookAdmin& webhooks);
  void set_batches(queue::FileStore& files, queue::BatchService& batches);
  int port() const;
  int admin_port() const;

  void stop_accepting();  // idle connections close now, busy ones after their current answer,
                          // streams of function events as soon as what is owed is said
  std::size_t in_flight() const;  // requests being answered
  const CallCounts& calls() const;
  queue::JobRunner& job_runner();  // calls without a client, by the same rules

 private:
  struct Listener;
  Result<void> listen(const ListenAddress& address, std::unique_ptr<Listener>& listener);

  std::shared_ptr<Server> server_;  // owners: this object and each open connection
  std::unique_ptr<Listener> main_;
  std::unique_ptr<Listener> admin_;
  std::unique_ptr<queue::JobRunner> job_runner_;
};

}  // namespace glowplug::gateway
