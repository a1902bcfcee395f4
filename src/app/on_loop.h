// What other threads have for the server loop runs there. The loop outlives whoever is given this.
// Thread: any.
#pragma once

#include <functional>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

namespace glowplug::app {

inline std::function<void(std::function<void()>)> on_loop(boost::asio::io_context& loop) {
  return [&loop](std::function<void()> call) { boost::asio::post(loop, std::move(call)); };
}

}  // namespace glowplug::app
