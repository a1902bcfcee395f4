// The world of test_world.h, with load in it: functions that grow and shrink by their calls.
//
// Thread: one test.
#pragma once

#include <algorithm>
#include <iostream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "control/brain.h"
#include "control/test_world.h"

namespace glowplug::control {

using domain::ScalePolicy;

// Functions with one slot and one of the four cores each, unless a test says otherwise.
class LoadScaling : public testing::Test {
 protected:
  void TearDown() override {
    if (!HasFailure()) return;
    for (const Decision& one : world.decisions)
      std::cerr << to_seconds(one.at - Time(1000s)) << " s " << one.function << " " << one.decision
                << ": " << one.reason << "\n";
  }
  domain::Manifest small(const std::string& name = "f",
                         ScalePolicy policy = ScalePolicy::Concurrency) const {
    domain::Manifest made = world.manifest(name);
    made.slots = 1;
    made.resources.threads = 1;
    made.scale.policy = policy;
    return made;
  }
  // With one replica, ready, and so many calls of which one runs.
  void loaded(const domain::Manifest& manifest, int count) {
    world.deploy(manifest);
    calls(count, manifest.name);
    world.ready(world.started.size() - 1);
  }
  void calls(int count, const std::string& name = "f", domain::CacheDomain domain = {}) {
    for (int i = 0; i < count; ++i) ids.push_back(world.call(name, 1, {}, domain));
  }
  void end(std::size_t count) {
    for (std::size_t i = 0; i < count && !ids.empty(); ++i) {
      world.post(CallEnded{ids.front()});
      ids.erase(ids.begin());
    }
  }
  // What starts is ready half a second later, what is to stop is gone as soon.
  void settle_for(Duration by) {
    for (const Time until = world.now + by; world.now < until;) {
      const std::size_t started = world.started.size(), stopped = world.stopped.size();
      world.pass(std::min<Duration>(500ms, until - world.now));
      for (; ready_ < started; ++ready_) world.post(ProcessReady{world.started[ready_].process});
      for (; gone_ < stopped; ++gone_)
        world.post(ProcessGone{world.stopped[gone_], "stopped", Ending::Asked});
    }
  }
  int live() const {
    int count = 0;
    const FunctionView view = *world.brain.function("f");
    for (const ReplicaView& one : view.replicas)
      count += one.state != domain::State::Draining ? 1 : 0;
    return count;
  }
  std::vector<std::string> told(const std::string& what) const {
    std::vector<std::string> reasons;
    for (const Decision& one : world.decisions)
      if (one.decision == what) reasons.push_back(one.reason);
    return reasons;
  }

  World world;
  std::vector<domain::CallId> ids;
  std::size_t ready_ = 0, gone_ = 0;
};

}  // namespace glowplug::control
