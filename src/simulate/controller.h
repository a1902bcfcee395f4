// The seam between a world and what decides in it: the brain as it is, or in a test one that was
// broken on purpose. Thread: one owner.
#pragma once

#include <functional>
#include <utility>

#include "control/brain.h"
#include "simulate/histogram.h"

namespace glowplug::simulate {

class Controller {
 public:
  virtual ~Controller() = default;
  virtual control::Effects handle(const control::Event& event, Time now, WallTime wall) = 0;
  virtual const control::Brain& brain() const = 0;
};

class BrainController final : public Controller {
 public:
  explicit BrainController(control::BrainOptions options) : brain_(options) {}
  control::Effects handle(const control::Event& event, Time now, WallTime wall) override {
    return brain_.handle(event, now, wall);
  }
  const control::Brain& brain() const override { return brain_; }

 private:
  control::Brain brain_;
};

// Another one, timed: how long each turn took, by a clock that is handed in.
class TimedController final : public Controller {
 public:
  using Stopwatch = std::function<Duration()>;  // since any beginning

  TimedController(Controller& inner, Stopwatch clock) : inner_(inner), clock_(std::move(clock)) {}
  control::Effects handle(const control::Event& event, Time now, WallTime wall) override {
    const Duration began = clock_();
    control::Effects effects = inner_.handle(event, now, wall);
    turns_.add(clock_() - began);
    return effects;
  }
  const control::Brain& brain() const override { return inner_.brain(); }
  const Histogram& turns() const { return turns_; }

 private:
  Controller& inner_;
  Stopwatch clock_;
  Histogram turns_;
};

}  // namespace glowplug::simulate
