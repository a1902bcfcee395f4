// The model cache beside the live platform: looks, scrubs and acts on threads of its own, and tells
// the platform what it finds.
//
//   gateway ──look/act──▶ LiveCache ──▶ models::ModelCache, on its thread; the answer comes back
//   every 5 s: is each verified file in the page cache? ──▶ LivePlatform
//   models::BlobScrubber, prepare() ──a blob is damaged──▶ LivePlatform, the log
//
// Thread: the server loop; `models` and `platform` outlive it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>

#include "app/live_platform.h"
#include "control/cache_admin.h"
#include "models/blob_scrubber.h"
#include "models/model_store.h"
#include "models/prompt_store.h"

namespace glowplug::app {

struct LiveCacheOptions {
  std::uint64_t machine_bytes = 0;   // of memory
  std::uint64_t template_bytes = 0;  // what templates without a replica may hold
  models::ScrubOptions scrub;
  const models::PromptStore* prompts = nullptr;  // counted beside the models; may be null
};

class LiveCache final : public control::CacheAdmin {
 public:
  LiveCache(boost::asio::io_context& loop, models::ModelStore& models, LivePlatform& platform,
            LiveCacheOptions options);
  LiveCache(const LiveCache&) = delete;
  LiveCache& operator=(const LiveCache&) = delete;
  ~LiveCache() override;

  void look(std::function<void(control::CacheView)> done) override;
  void act(control::CacheAction action, const std::string& sha256,
           std::function<void(Result<void>)> done) override;
  control::CacheCounters counters() const override;

 private:
  void watch_residency();
  Result<void> carry_out(control::CacheAction action, const std::string& sha256);

  boost::asio::io_context& loop_;
  models::ModelCache& cache_;
  LivePlatform& platform_;
  const LiveCacheOptions options_;
  boost::asio::steady_timer timer_;
  models::BlobScrubber scrubber_;
  boost::asio::thread_pool looker_{1};  // last: joined before the rest goes away
};

}  // namespace glowplug::app
