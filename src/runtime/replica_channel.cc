// What a process prints, and what its worker says on the control channel.
#include <cerrno>
#include <unistd.h>
#include <utility>
#include <variant>
#include <vector>

#include <boost/asio/buffer.hpp>
#include <fmt/format.h>

#include "runtime/replica_process_state.h"

namespace glowplug::runtime {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

constexpr std::size_t kDrainBytesMax = 1024 * 1024;  // read at once after the exit, at most
constexpr Duration kFailedGrace = 2s;  // a worker that said "failed" has ended by itself then

}  // namespace

void ReplicaProcess::State::read_output() {
  output_.async_wait(Descriptor::wait_read, [self = shared_from_this()](Code code) {
    if (code) return;
    auto& to = self->output_bytes_;
    const ssize_t size = ::read(self->output_.native_handle(), to.data(), to.size());
    if (size == 0 || (size < 0 && errno != EAGAIN)) return;
    if (size > 0) self->take_output(static_cast<std::size_t>(size));
    if (self->listener_ != nullptr) self->read_output();
  });
}

void ReplicaProcess::State::take_output(std::size_t size) {
  output_lines_.feed({output_bytes_.data(), size},
                     [this](std::string_view line, LineEnd end) { print(line, end); });
}

void ReplicaProcess::State::print(std::string_view line, LineEnd end) {
  std::string text = printable(line);
  if (end == LineEnd::Cut) text += " …";
  if (listener_ != nullptr) listener_->printed(process_, text);
  if (!text.empty()) facts_.last_line = std::move(text);
}

void ReplicaProcess::State::read_control() {
  control_.async_read_some(asio::buffer(control_bytes_),
                           [self = shared_from_this()](Code code, std::size_t size) {
                             if (code) return self->control_closed();
                             self->take_control(size);
                             if (self->listener_ != nullptr && !self->control_broken_)
                               self->read_control();
                           });
}

void ReplicaProcess::State::take_control(std::size_t size) {
  control_lines_.feed({control_bytes_.data(), size}, [this](std::string_view line, LineEnd end) {
    if (control_broken_ || listener_ == nullptr) return;
    if (end == LineEnd::Cut)
      return break_control(fmt::format("is over {} bytes", kControlLineBytesMax));
    Result<ControlMessage> message = parse_control_line(line);
    if (!message) return break_control(message.error().message);
    obey(*message);
  });
  if (!control_broken_ && control_lines_.over())
    break_control(fmt::format("is over {} bytes", kControlLineBytesMax));
}

void ReplicaProcess::State::break_control(const std::string& why) {
  control_broken_ = true;
  const std::string cause = "broke the control protocol: a line " + why;
  return pid_ > 0 ? kill(cause, ExitReason::Protocol) : never_born(cause, ExitReason::Protocol);
}

void ReplicaProcess::State::obey(const ControlMessage& message) {
  if (reaping_) {
    if (const auto* failed = std::get_if<WorkerFailed>(&message)) facts_.failed = failed->cause;
    return;
  }
  if (const auto* forked = std::get_if<WorkerForked>(&message))
    return pid_ < 0 ? born(forked->pid) : break_control("says forked twice");
  if (const auto* ready = std::get_if<WorkerReady>(&message)) return became_ready(*ready);
  if (const auto* loading = std::get_if<WorkerLoading>(&message)) {
    if (ready_ || !facts_.asked.empty() || loading->progress <= progress_) return;
    progress_ = loading->progress;
    watch_progress();
    return listener_->progress(process_, progress_);
  }
  if (const auto* kept = std::get_if<WorkerKept>(&message)) return took_copies(*kept);
  if (std::holds_alternative<WorkerOverwriting>(message))
    return (void)states_.keep(control(), StateOrders::Why::Overwriting);
  if (const auto* wants = std::get_if<WorkerWants>(&message))
    return states_.note_wanted() ? listener_->wants(process_, wants->id)
                                 : (void)states_.give(control(), wants->id, UniqueFd());
  facts_.failed = std::get<WorkerFailed>(message).cause;
  if (!stopping_ && pid_ > 0)
    kill_after(kFailedGrace, "failed and did not exit", ExitReason::LoadFailed);
}

void ReplicaProcess::State::took_copies(const WorkerKept& said) {
  std::vector<KeptCopy> copies = states_.kept(said);
  if (!copies.empty()) listener_->kept(process_, std::move(copies));
  if (!stopping_ || pid_ < 0 || states_.is_keeping()) return;
  load_timer_.cancel();
  terminate();
}

// What the process wrote just before its end is still in the pipes.
void ReplicaProcess::State::drain() {
  const auto read_all = [](Descriptor& from, auto& bytes, const auto& take) {
    for (std::size_t total = 0; from.is_open() && total < kDrainBytesMax;) {
      const ssize_t size = ::read(from.native_handle(), bytes.data(), bytes.size());
      if (size <= 0) return;
      total += static_cast<std::size_t>(size);
      take(static_cast<std::size_t>(size));
    }
  };
  read_all(output_, output_bytes_, [this](std::size_t size) { take_output(size); });
  output_lines_.finish([this](std::string_view line, LineEnd end) { print(line, end); });
  read_all(control_, control_bytes_, [this](std::size_t size) { take_control(size); });
}

}  // namespace glowplug::runtime
