#include "app/live_cache.h"

#include <map>
#include <utility>

#include <boost/asio/post.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include "base/page_cache.h"
#include "domain/errors.h"

namespace glowplug::app {
namespace {

constexpr Duration kLookInterval = std::chrono::seconds(5);

}  // namespace

LiveCache::LiveCache(boost::asio::io_context& loop, models::ModelStore& models,
                     LivePlatform& platform, LiveCacheOptions options)
    : loop_(loop),
      cache_(models.cache()),
      platform_(platform),
      options_(options),
      timer_(loop),
      scrubber_(cache_, options.scrub) {
  cache_.on_damage([this](const models::Damage& damage) {
    const auto functions = cache_.functions_of(damage.sha256);
    spdlog::error("model={} decision=quarantine functions={} reason=\"{}\"", damage.sha256,
                  functions.empty() ? "none" : fmt::format("{}", fmt::join(functions, ",")),
                  damage.reason);
    boost::asio::post(loop_, [this, damage] {
      platform_.tell(control::ModelLost{
          damage.path, fmt::format("its model file is damaged: {}", damage.reason)});
    });
  });
  watch_residency();
}

LiveCache::~LiveCache() {
  cache_.on_damage({});
  looker_.join();
}

void LiveCache::watch_residency() {
  timer_.expires_after(kLookInterval);
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    boost::asio::post(looker_, [this] {
      std::map<std::string, bool> resident;
      for (const auto& [path, sha256] : cache_.verified_paths()) resident[path] = is_resident(path);
      boost::asio::post(loop_, [this, resident = std::move(resident)] {
        for (const auto& [path, now] : resident) platform_.tell(control::ModelResidency{path, now});
        watch_residency();
      });
    });
  });
}

control::CacheCounters LiveCache::counters() const {
  control::CacheCounters counters = cache_.counters();
  if (options_.prompts == nullptr) return counters;
  const models::PromptStoreCounts counted = options_.prompts->counts();
  control::PromptCopies& copies = counters.prompts.emplace();
  copies = {.count = counted.states,
            .bytes = counted.bytes_held,
            .budget_bytes = options_.prompts->budget_bytes(),
            .memory_bytes = counted.memory_held,
            .kept = counted.kept,
            .restored = counted.restored,
            .evicted = counted.evicted,
            .expired = counted.expired,
            .refused = {}};
  for (const models::StateRefusal reason : models::kStateRefusals)
    copies.refused[std::string(to_string(reason))] = counted.refused_for(reason);
  return counters;
}

void LiveCache::look(std::function<void(control::CacheView)> done) {
  boost::asio::post(looker_, [this, done = std::move(done)]() mutable {
    control::CacheView view = cache_.view();
    view.memory_bytes = options_.machine_bytes;
    view.template_budget = options_.template_bytes;
    boost::asio::post(loop_, [done = std::move(done), view = std::move(view)]() mutable {
      done(std::move(view));
    });
  });
}

void LiveCache::act(control::CacheAction action, const std::string& sha256,
                    std::function<void(Result<void>)> done) {
  boost::asio::post(looker_, [this, action, sha256, done = std::move(done)]() mutable {
    Result<void> outcome = carry_out(action, sha256);
    boost::asio::post(loop_, [done = std::move(done), outcome = std::move(outcome)]() mutable {
      done(std::move(outcome));
    });
  });
}

Result<void> LiveCache::carry_out(control::CacheAction action, const std::string& sha256) {
  switch (action) {
    case control::CacheAction::Pin: return cache_.set_pin(sha256, models::Pin::Yes);
    case control::CacheAction::Unpin: return cache_.set_pin(sha256, models::Pin::No);
    case control::CacheAction::Evict: return cache_.evict(sha256);
    case control::CacheAction::Verify: break;
  }
  if (!cache_.folder().find(sha256))
    return Error{std::string(domain::error::kNotFound),
                 fmt::format("the cache holds no model file {}", sha256), "digest"};
  scrubber_.verify_soon(sha256);
  return {};
}

}  // namespace glowplug::app
