// The seam between a world and what decides in it: the brain as it is, or in a test one that was
// broken on purpose. Thread: one owner.
#pragma once

#include "control/brain.h"

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

}  // namespace glowplug::simulate
