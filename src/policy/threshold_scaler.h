// The threshold policy: two replicas more when more than 50 calls wait, or the mean time to the
// first token is over 200 ms, or more than 0.3 of the calls waited for a start; one less when fewer
// than 5 wait; else as many as there are.
//
// The mean and the share are those of 60 s and count from 10 samples on. What is asked of it is so
// simple on purpose: it has no memory, and a load that lasts grows it by two at each tick.
//
// Thread: whoever owns the object.
#pragma once

#include "policy/autoscaler.h"

namespace glowplug::policy {

class ThresholdScaler final : public Autoscaler {
 public:
  ScaleWish decide(const LoadFacts& facts, Time now) override;
};

}  // namespace glowplug::policy
