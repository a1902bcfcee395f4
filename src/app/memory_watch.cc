#include "app/memory_watch.h"

#include <chrono>
#include <utility>

#include <boost/asio/post.hpp>

namespace glowplug::app {
namespace {

using namespace std::chrono_literals;

constexpr Duration kFresh = 1s;                // asking again sooner brings nothing forward
constexpr Duration kUnscheduledEvery = 100ms;  // of what is not ready yet, on the loop
constexpr int kUnscheduledRest = 20;           // and as many times what it took

}  // namespace

MemoryWatch::MemoryWatch(Parts parts) : parts_(std::move(parts)), timer_(parts_.loop) {}

void MemoryWatch::ready(domain::ProcessId process) {
  schedule_.add(process, parts_.clock.now());
  set_timer();
}

void MemoryWatch::answered(domain::ProcessId process) {
  schedule_.note_answer(process, parts_.clock.now());
  set_timer();
}

void MemoryWatch::gone(domain::ProcessId process) {
  schedule_.remove(process);
  last_.erase(process);
}

std::uint64_t MemoryWatch::bytes_of(domain::ProcessId process) {
  const Time now = parts_.clock.now();
  const auto last = last_.find(process);
  const bool scheduled = schedule_.contains(process);
  if (last != last_.end()) {
    const Duration age = now - last->second.at;
    if (scheduled && age >= kFresh) {
      schedule_.ask(process, now);
      set_timer();
    }
    if (scheduled || age < kUnscheduledEvery) return last->second.use.proportional;
  }
  const auto pid = parts_.pid_of(process);
  const auto use = pid ? parts_.measure(*pid) : std::nullopt;
  if (!use) return 0;
  const Time ended = parts_.clock.now();
  last_[process] = {*use, ended + kUnscheduledRest * (ended - now)};
  return use->proportional;
}

void MemoryWatch::set_timer() {
  const std::optional<Time> at = schedule_.next();
  if (at == timer_at_) return;
  timer_at_ = at;
  timer_.cancel();
  if (!at) return;
  timer_.expires_at(*at);
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;  // the timer is a member: it does not outlive `this`
    timer_at_.reset();
    look();
  });
}

void MemoryWatch::look() {
  const auto process = schedule_.take(parts_.clock.now());
  if (!process) return set_timer();
  const auto pid = parts_.pid_of(*process);
  if (!pid) {
    schedule_.done(parts_.clock.now(), 0ms);
    return set_timer();
  }
  // Its number names it until it is reaped, which gone() tells: then the answer is thrown away.
  boost::asio::post(thread_, [this, process = *process, pid = *pid] {
    const Time began = parts_.clock.now();
    const auto use = parts_.measure(pid);
    const Duration took = parts_.clock.now() - began;
    boost::asio::post(parts_.loop, [this, process, use, took] {
      schedule_.done(parts_.clock.now(), took);
      take(process, use);
      set_timer();
    });
  });
}

void MemoryWatch::take(domain::ProcessId process, const std::optional<runtime::MemoryUse>& use) {
  if (!use || !schedule_.contains(process)) return;
  last_[process] = {*use, parts_.clock.now()};
  parts_.measured({.process = process, .own_bytes = use->own, .mapped_bytes = use->mapped});
}

}  // namespace glowplug::app
