#include "gateway/replica_pulse.h"

#include <utility>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "domain/limits.h"
#include "policy/batch_freeze.h"

namespace glowplug::gateway {

namespace asio = boost::asio;

static_assert(domain::kReplicaPulse * domain::kReplicaPulsesMissed > policy::kFrozenMost);

struct ReplicaPulse::State {
  State(Server& server, control::Endpoint endpoint_in, Heard heard_in)
      : pool(server.pool),
        every(server.options.replica_pulse),
        endpoint(std::move(endpoint_in)),
        heard(std::move(heard_in)),
        pause(server.io),
        limit(server.io) {}

  ReplicaPool& pool;
  const Duration every;
  const control::Endpoint endpoint;
  Heard heard;
  asio::steady_timer pause;  // between two questions
  asio::steady_timer limit;  // of one
  ReplicaConnection* asked = nullptr;
  bool over = false;

  static Coroutine<bool> ask(std::shared_ptr<State> state);
  static Coroutine<> run(std::shared_ptr<State> state);
};

Coroutine<bool> ReplicaPulse::State::ask(std::shared_ptr<State> state) {
  ReplicaConnection replica(state->pool, state->endpoint);
  state->asked = &replica;
  state->limit.expires_after(state->every);
  state->limit.async_wait([weak = std::weak_ptr<State>(state)](boost::system::error_code ec) {
    const std::shared_ptr<State> alive = weak.lock();  // owner: the coroutine that asks
    if (!ec && alive && alive->asked != nullptr) alive->asked->close();
  });
  const std::string path = "/health";
  const ReplicaHead head = co_await replica.get(path);
  state->asked = nullptr;
  state->limit.cancel();
  co_return head.status != 0;
}

Coroutine<> ReplicaPulse::State::run(std::shared_ptr<State> state) {
  int missed = 0;
  state->pause.expires_after(state->every);
  while (!state->over && missed < domain::kReplicaPulsesMissed) {
    co_await state->pause.async_wait(asio::as_tuple(asio::use_awaitable));
    if (state->over) co_return;
    state->pause.expires_after(state->every);  // from question to question, however long one takes
    const bool answered = co_await ask(state);
    missed = answered ? 0 : missed + 1;
    if (answered && !state->over) state->heard.alive();
  }
  if (!state->over) state->heard.lost();
}

ReplicaPulse::ReplicaPulse(Server& server, control::Endpoint endpoint, Heard heard)
    : state_(std::make_shared<State>(server, std::move(endpoint), std::move(heard))) {
  asio::co_spawn(server.io, State::run(state_), asio::detached);
}

Coroutine<bool> ReplicaPulse::answers(Server& server, control::Endpoint endpoint) {
  const auto state = std::make_shared<State>(server, std::move(endpoint), Heard{});
  for (int missed = 0; missed < domain::kReplicaPulsesMissed; ++missed) {
    const bool answered = co_await State::ask(state);
    if (answered) co_return true;
  }
  co_return false;
}

ReplicaPulse::~ReplicaPulse() {
  state_->over = true;
  state_->pause.cancel();
  if (state_->asked != nullptr) state_->asked->close();
}

}  // namespace glowplug::gateway
