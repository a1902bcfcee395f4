#include "app/prompt_states.h"

#include <utility>

#include <boost/asio/post.hpp>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "models/sha256.h"

namespace glowplug::app {
namespace {

constexpr std::chrono::minutes kExpiryInterval{10};
constexpr const char* kKeyless = "keyless";  // all callers without a key are one tenant

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
                           std::string engine)
    : loop_(loop), store_(store), engine_(std::move(engine)), expiry_(loop) {
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
}

void PromptStates::keep(domain::ProcessId process, std::vector<UniqueFd> states,
                        runtime::Supervisor& supervisor) {
  const Replica* replica = find(process);
  if (replica == nullptr) return;
  // Owner: the job on the pool.
  auto files = std::make_shared<std::vector<UniqueFd>>(std::move(states));
  boost::asio::post(files_, [this, process, replica = *replica, files, &supervisor] {
    for (const UniqueFd& file : *files) {
      const auto kept = store_->keep(replica.owner, replica.fit, file.get());
      if (!kept)
        spdlog::warn("replica={} a prompt is not kept: {}", process.value, kept.error().message);
    }
    boost::asio::post(loop_, [this, process, &supervisor] {
      if (const Replica* still = find(process)) tell(process, *still, supervisor);
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
      spdlog::warn("replica={} prompt {:016x} is not restored: {}", process.value, state,
                   loaded.error().message);
    // Owner: the event on the loop.
    auto file = std::make_shared<UniqueFd>(loaded ? std::move(*loaded) : UniqueFd());
    boost::asio::post(loop_, [process, state, file, &supervisor] {
      supervisor.give(process, state, std::move(*file));
    });
  });
}

const PromptStates::Replica* PromptStates::find(domain::ProcessId process) const {
  const auto found = replicas_.find(process);
  return found == replicas_.end() || found->second.owner.tenant.empty() ? nullptr : &found->second;
}

}  // namespace glowplug::app
