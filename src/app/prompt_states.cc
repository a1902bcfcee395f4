#include "app/prompt_states.h"

#include <algorithm>
#include <utility>

#include <boost/asio/post.hpp>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "models/sha256.h"
#include "policy/shared_beginning.h"

namespace glowplug::app {
namespace {

constexpr std::chrono::minutes kExpiryInterval{10};
constexpr std::size_t kBeingWrittenMax = 64;  // of one replica: a slow disk must not fill memory
constexpr const char* kKeyless = "keyless";   // all callers without a key are one tenant

constexpr std::size_t kBeginningsMax = 8;  // of one owner
constexpr std::size_t kOwnersLearnedMax = 256;

std::string key_of(const models::StateOwner& owner, const models::StateFit& fit) {
  return fmt::format("{}\n{}\n{}\n{}\n{}", owner.tenant, owner.domain, fit.model_sha256, fit.engine,
                     fit.settings);
}

}  // namespace

models::StateOwner owner_of(const domain::CacheDomain& domain) {
  return {.tenant = domain.tenant.empty() ? kKeyless : domain.tenant,
          .domain = domain.salt.empty() ? "-" : models::sha256_hex(domain.salt)};
}

models::StateFit fit_of(const control::StartProcess& start, const std::string& engine) {
  const domain::Manifest& manifest = start.manifest;
  return {.model_sha256 = start.facts.sha256.empty() ? std::string("none") : start.facts.sha256,
          .engine = fmt::format("{} {}", domain::to_string(manifest.engine.kind), engine),
          .settings = fmt::format("context={} kv={}", manifest.context,
                                  domain::to_string(manifest.tuning.kv)),
          .adapters = ""};
}

PromptStates::PromptStates(boost::asio::io_context& loop, models::PromptStore* store,
                           std::string engine, OnShared on_shared)
    : loop_(loop),
      store_(store),
      engine_(std::move(engine)),
      on_shared_(std::move(on_shared)),
      expiry_(loop) {
  if (store_ != nullptr) expire_now_and_then();
}

void PromptStates::expire_now_and_then() {
  boost::asio::post(files_, [store = store_] { store->expire(); });
  expiry_.expires_after(kExpiryInterval);
  expiry_.async_wait([this](const boost::system::error_code& error) {
    if (!error) expire_now_and_then();
  });
}

void PromptStates::finish() {
  expiry_.cancel();
  files_.join();
}

void PromptStates::started(const control::StartProcess& start) {
  if (store_ != nullptr && start.role == control::Role::Replica)
    replicas_[start.process] = {.fit = fit_of(start, engine_), .owner = {}};
}

void PromptStates::bind(const control::BindReplica& effect, runtime::Supervisor& supervisor) {
  const auto found = replicas_.find(effect.replica);
  if (found == replicas_.end()) return;
  found->second.owner = owner_of(effect.domain);
  tell(effect.replica, found->second, supervisor);
}

void PromptStates::tell(domain::ProcessId process, const Replica& replica,
                        runtime::Supervisor& supervisor) {
  std::vector<runtime::RememberedPrompt> prompts;
  for (models::KeptState& state : store_->remembered(replica.owner, replica.fit))
    prompts.push_back({state.id, std::move(state.tokens)});
  supervisor.remember(process, prompts);
  std::vector<policy::SeenPrompts> seen;
  for (const Seen& one : learned_[key_of(replica.owner, replica.fit)])
    seen.push_back({one.tokens, one.prompts});
  for (const runtime::RememberedPrompt& prompt : prompts) seen.push_back({prompt.tokens});
  auto shared = policy::shared_beginning(seen);
  if (!shared) return;
  // Owners: the brain and the template's start.
  auto beginning = std::make_shared<std::vector<std::int32_t>>(std::move(shared->tokens));
  on_shared_({process, std::move(beginning), shared->prompts});
}

// The same ones as before count together.
void PromptStates::learn(const Replica& replica, std::vector<Seen> seen) {
  const std::string key = key_of(replica.owner, replica.fit);
  if (!learned_.contains(key) && learned_.size() >= kOwnersLearnedMax) learned_.clear();
  Beginnings& known = learned_[key];
  for (Seen& one : seen) {
    const auto same = std::find_if(known.begin(), known.end(),
                                   [&one](const Seen& it) { return it.tokens == one.tokens; });
    if (same != known.end()) {
      one.prompts += same->prompts;
      known.erase(same);
    }
    known.insert(known.begin(), std::move(one));
  }
  if (known.size() > kBeginningsMax) known.resize(kBeginningsMax);
}

void PromptStates::keep(domain::ProcessId process, std::vector<runtime::KeptCopy> copies,
                        runtime::Supervisor& supervisor) {
  Replica* replica = find(process);
  if (replica == nullptr) return;
  if (replica->being_written + copies.size() > kBeingWrittenMax) {
    spdlog::warn("replica={} {} prompts are not kept: the disk is slower than they come",
                 process.value, copies.size());
    return;
  }
  replica->being_written += copies.size();
  // Owner: the job on the pool.
  auto shared_copies = std::make_shared<std::vector<runtime::KeptCopy>>(std::move(copies));
  boost::asio::post(files_, [this, process, replica = *replica, shared_copies, &supervisor] {
    std::map<std::uint64_t, const runtime::KeptCopy*> kept;
    for (const runtime::KeptCopy& copy : *shared_copies) {
      if (const auto id = store_->keep(replica.owner, replica.fit, copy.file.get()))
        kept[*id] = &copy;
      else
        spdlog::warn("replica={} a prompt is not kept: {}", process.value, id.error().message);
    }
    std::vector<Seen> seen;
    for (const models::KeptState& state : store_->remembered(replica.owner, replica.fit)) {
      const auto found = kept.find(state.id);
      if (found == kept.end() || found->second->shared_prompts == 0) continue;
      const std::size_t most = std::min(found->second->shared_tokens, state.tokens.size());
      // The copy itself is one of them.
      seen.push_back(
          {{state.tokens.begin(), state.tokens.begin() + static_cast<std::ptrdiff_t>(most)},
           std::max<std::size_t>(found->second->shared_prompts, 2) - 1});
    }
    const std::size_t written = shared_copies->size();
    boost::asio::post(loop_, [this, process, replica, written, seen, &supervisor] {
      learn(replica, seen);
      Replica* still = find(process);
      if (still == nullptr) return;
      still->being_written -= written;
      tell(process, *still, supervisor);
    });
  });
}

void PromptStates::give(domain::ProcessId process, std::uint64_t state,
                        runtime::Supervisor& supervisor) {
  const Replica* replica = find(process);
  if (replica == nullptr) return supervisor.give(process, state, UniqueFd());
  boost::asio::post(files_, [this, process, replica = *replica, state, &supervisor] {
    auto loaded = store_->load(replica.owner, replica.fit, state);
    if (!loaded)
      spdlog::info("replica={} prompt {:016x} is not restored: {}", process.value, state,
                   loaded.error().message);
    // Owner: the event on the loop.
    auto file = std::make_shared<UniqueFd>(loaded ? std::move(*loaded) : UniqueFd());
    boost::asio::post(loop_, [process, state, file, &supervisor] {
      supervisor.give(process, state, std::move(*file));
    });
  });
}

PromptStates::Replica* PromptStates::find(domain::ProcessId process) {
  const auto found = replicas_.find(process);
  return found == replicas_.end() || found->second.owner.tenant.empty() ? nullptr : &found->second;
}

}  // namespace glowplug::app
