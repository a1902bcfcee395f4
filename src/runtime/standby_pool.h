// Workers that were started ahead and hold no model: a start without a template takes one, and
// saves the program's execution, its namespaces and, on a GPU, the making of the device's context.
//
//   spawn ──▶ standing by ──take()──▶ a replica, a template: whatever the launch plan says
//                  └──dies──▶ reaped, and another one some seconds later
//
// They hold no caller's data and end with the server. What a worker was started for, it is told in
// one order: its command line, its environment and its cgroup.
//
// Thread: the server loop's. Nothing is thrown or returned for one that cannot be started: the next
// start executes its own.
#pragma once

#include <list>
#include <memory>
#include <optional>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include "control/process_counts.h"
#include "runtime/child_spawn.h"
#include "runtime/launch_plan.h"
#include "runtime/leaf_cgroup.h"

namespace glowplug::runtime {

class StandbyPool final {
 public:
  StandbyPool(boost::asio::io_context& loop, std::string worker_path, int count,
              control::ProcessCounts& counts);
  ~StandbyPool();  // kills them
  StandbyPool(const StandbyPool&) = delete;
  StandbyPool& operator=(const StandbyPool&) = delete;

  // One that goes on as the plan says, of our worker; nothing where none stands by. `leaf` may be
  // null.
  std::optional<SpawnedChild> take(const LaunchPlan& plan, const Leaf* leaf);

  std::size_t size() const { return workers_.size(); }

 private:
  struct Worker {
    SpawnedChild child;  // without its pidfd
    boost::asio::posix::stream_descriptor pidfd;
  };
  void fill_in(Duration delay);
  void fill();
  void watch(std::list<Worker>::iterator worker);

  boost::asio::io_context& loop_;
  const std::string worker_path_;
  control::ProcessCounts& counts_;
  const std::size_t count_;
  std::list<Worker> workers_;
  boost::asio::steady_timer timer_;
  std::shared_ptr<int> alive_ = std::make_shared<int>();  // owner: this; handlers ask whether it is
};

}  // namespace glowplug::runtime
