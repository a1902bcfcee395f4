// The fake engine's HTTP over its Unix socket: the routes of a replica, answered at a set pace,
// with the faults that strike at a request or a token. What the answers say is in fake_answer.h and
// fake_replies.h.
//
// Thread: serve() runs on one, each connection on its own; finish() and stop() come from any.
#pragma once

#include <condition_variable>
#include <mutex>
#include <set>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>

#include "base/result.h"
#include "worker/fake_slots.h"
#include "worker/options.h"
#include "worker/prompt_memory.h"
#include "worker/stop_event.h"

namespace glowplug::worker {

class FakeServer final {
 public:
  FakeServer(const Options& options, FakeSlots& slots, PromptMemory& memory)
      : options_(options), slots_(slots), memory_(memory), acceptor_(context_) {}

  Result<void> listen();
  void serve();   // until finish()
  void finish();  // lets running answers end, then cuts off the rest
  StopEvent& stop() { return stop_; }

 private:
  class Connection;
  struct Counters {
    int running = 0;     // generation requests under way
    int peak = 0;        // the most there ever were
    long tokens = 0;     // emitted since the start
    long completed = 0;  // answers that reached their end
  };

  bool enter();
  void leave(bool completed);
  void count_token();
  std::string stats();

  const Options& options_;
  FakeSlots& slots_;
  PromptMemory& memory_;
  boost::asio::io_context context_;
  boost::asio::local::stream_protocol::acceptor acceptor_;
  StopEvent stop_;   // cuts off running answers
  StopEvent close_;  // ends the accept loop
  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<int> open_;  // sockets of the connections
  bool finishing_ = false;
  long serial_ = 0;
  Counters counters_;
};

}  // namespace glowplug::worker
