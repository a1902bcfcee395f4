#include "runtime/readiness_probe.h"

#include <optional>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "runtime/replica_request.h"

namespace glowplug::runtime {

class ReadinessProbe::State final : public std::enable_shared_from_this<State> {
 public:
  State(boost::asio::io_context& loop, Options options, std::function<void()> ready)
      : loop_(loop), options_(std::move(options)), ready_(std::move(ready)), pause_(loop) {}

  void cancel() {
    ready_ = nullptr;
    pause_.cancel();
    request_.reset();
  }

  void attempt() {
    // The request is a member: it does not outlive `this`.
    request_.emplace(loop_,
                     ReplicaAsk{.endpoint = options_.endpoint,
                                .target = options_.path,
                                .part = ReplyPart::Head,
                                .timeout = options_.attempt_timeout},
                     [this](const Result<ReplicaReply>& reply) {
                       if (!reply || reply->status != 200) return again();
                       if (ready_) std::exchange(ready_, nullptr)();
                     });
  }

 private:
  void again() {
    if (!ready_) return;
    pause_.expires_after(options_.interval);
    pause_.async_wait([self = shared_from_this()](boost::system::error_code code) {
      if (!code && self->ready_) self->attempt();
    });
  }

  boost::asio::io_context& loop_;
  Options options_;
  std::function<void()> ready_;  // empty once called or cancelled
  boost::asio::steady_timer pause_;
  std::optional<ReplicaRequest> request_;
};

ReadinessProbe::ReadinessProbe(boost::asio::io_context& loop, Options options,
                               std::function<void()> ready)
    : state_(std::make_shared<State>(loop, std::move(options), std::move(ready))) {
  state_->attempt();
}

ReadinessProbe::~ReadinessProbe() { state_->cancel(); }

}  // namespace glowplug::runtime
