// A world for tests: one that is watched by the checkers, keeps what became of each call, and fails
// the test where a rule does not hold. Thread: one test.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "simulate/checkers.h"
#include "simulate/run.h"
#include "simulate/world.h"

namespace glowplug::simulate {

class Ends final : public Observer {
 public:
  void call_ended(const CallResult& result) override { results.push_back(result); }
  std::vector<CallResult> results;
};

// Counts what is started, and what is tried again.
class StartCount final : public Observer {
 public:
  void turned(const Turn& turn) override {
    if (const auto* arrived = std::get_if<control::CallArrived>(&turn.event))
      if (arrived->retry_of) again_.insert(arrived->call);
    for (const control::Effect& effect : turn.effects.list) {
      if (const auto* start = std::get_if<control::StartProcess>(&effect)) {
        ++of[start->manifest.name];
        loads += start->from ? 0 : 1;
      }
      if (const auto* granted = std::get_if<control::GrantCall>(&effect))
        retries += again_.contains(granted->call) ? 1 : 0;
      if (const auto* refused = std::get_if<control::RefuseCall>(&effect))
        retry_after_most = std::max(retry_after_most, refused->retry_after_s);
    }
  }
  std::map<std::string, int> of;
  int loads = 0;  // of a file: all but forks
  int retry_after_most = 0;
  int retries = 0;  // that were granted a replica

 private:
  std::set<domain::CallId> again_;
};

// A brain that is broken on purpose: it hears of each event with something changed in it.
template <void (*kChange)(control::Event&)>
class Mishears final : public Controller {
 public:
  explicit Mishears(const control::BrainOptions& options) : brain_(options) {}
  control::Effects handle(const control::Event& event, Time now, WallTime wall) override {
    control::Event heard = event;
    kChange(heard);
    return brain_.handle(heard, now, wall);
  }
  const control::Brain& brain() const override { return brain_; }

 private:
  control::Brain brain_;
};

// Does not know which call is tried again: it has no replica to itself, and is never blamed.
inline void know_no_retry(control::Event& event) {
  if (auto* arrived = std::get_if<control::CallArrived>(&event)) arrived->retry_of.reset();
}
using KnowsNoRetry = Mishears<know_no_retry>;

// Without chance: a start takes what the model says.
inline WorldModel exact() {
  WorldModel model;
  model.starts.jitter = 0;
  return model;
}

class WatchedWorld : public ::testing::Test {
 protected:
  void make(const WorldModel& model, WorldOptions options = {}) {
    controller = std::make_unique<BrainController>(brain_options(model));
    world = std::make_unique<World>(model, std::move(options), *controller);
    checkers = std::make_unique<Checkers>(model);
    ends.results.clear();
    world->watch(ends);
    world->watch(*checkers);
  }
  ~WatchedWorld() override {
    if (checkers == nullptr) return;
    const auto& violation = checkers->violation();
    EXPECT_FALSE(violation) << violation->rule << ": " << violation->what;
  }

  void call(std::uint32_t function, int prompt = 20, int output = 10, std::uint32_t tenant = 0) {
    world->arrive(
        {.function = function, .tenant = tenant, .prompt_tokens = prompt, .output_tokens = output});
  }
  void pass_by(Duration by) { world->run_until(world->now() + by); }
  void settle_all() { settle(*world, world->now() + 30min); }
  // A call, and what becomes of it.
  const CallResult& answer(std::uint32_t function, int prompt = 20, int output = 10) {
    const std::size_t before = ends.results.size();
    call(function, prompt, output);
    settle_all();
    EXPECT_GT(ends.results.size(), before);
    return ends.results.back();
  }
  // One call after the other, the gaps between them alike.
  void call_every(Duration gap, Duration length, std::uint32_t function, int prompt, int output,
                  std::uint32_t tenant = 0) {
    for (const Time end = world->now() + length; world->now() < end; pass_by(gap))
      call(function, prompt, output, tenant);
  }

  Ends ends;
  std::unique_ptr<Controller> controller;
  std::unique_ptr<World> world;
  std::unique_ptr<Checkers> checkers;
};

}  // namespace glowplug::simulate
