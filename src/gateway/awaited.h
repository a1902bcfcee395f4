// One answer that a callback brings to a coroutine. Owners: the coroutine that waits, and the
// callback. Private to gateway/. Thread: the server loop.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/time_types.h"

namespace glowplug::gateway {

template <typename T>
struct Awaited {
  explicit Awaited(boost::asio::io_context& io) : wake(io, Time::max()) {}
  void give(T given) {
    value.emplace(std::move(given));
    wake.cancel();
  }
  boost::asio::steady_timer wake;
  std::optional<T> value;
};

template <typename T>
boost::asio::awaitable<void> wait_for(std::shared_ptr<Awaited<T>> awaited) {
  constexpr auto kQuietly = boost::asio::as_tuple(boost::asio::use_awaitable);
  while (!awaited->value) co_await awaited->wake.async_wait(kQuietly);
}

// Waits for what `ask` hands its callback, which is called once.
template <typename T>
boost::asio::awaitable<T> answer_to(boost::asio::io_context& io,
                                    std::function<void(std::function<void(T)>)> ask) {
  const auto answer = std::make_shared<Awaited<T>>(io);
  ask([answer](T value) { answer->give(std::move(value)); });
  co_await wait_for(answer);
  co_return std::move(*answer->value);
}

}  // namespace glowplug::gateway
