// Tells a coroutine that waits for a job when to look again: at each change of its state, when the
// client has left and when the server drains.
//
// Thread: the server loop. Private to gateway/.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include <boost/asio/steady_timer.hpp>

#include "gateway/exchange.h"
#include "queue/job_service.h"

namespace glowplug::gateway {

class JobWatch final {
 public:
  JobWatch(Exchange& exchange, domain::JobId job);
  ~JobWatch();
  JobWatch(const JobWatch&) = delete;
  JobWatch& operator=(const JobWatch&) = delete;

  // Until something has changed since the last call of it, or `until`. True: it has changed.
  Coroutine<bool> wait(Time until);
  bool client_gone() const { return state_->client_gone; }

 private:
  struct State {
    explicit State(boost::asio::io_context& io) : wake(io) {}
    boost::asio::steady_timer wake;
    bool changed = false;
    bool client_gone = false;
  };
  Exchange& exchange_;
  const std::shared_ptr<State> state_;  // owner: this object; who tells it holds weak pointers
  std::uint64_t id_ = 0;
};

// Server-sent events of a job, from `first` to its end or the drain of the server. `render` makes
// the events of the job as it is now that were not sent yet, or nothing. A job that can no longer
// be read ends the stream without its last chunk, and the client comes back.
using RenderJob = std::function<std::string(const storage::JobView&)>;
Coroutine<> stream_job(Exchange& exchange, JobWatch& watch, storage::JobView first,
                       RenderJob render);

}  // namespace glowplug::gateway
