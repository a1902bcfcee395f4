// The concurrency policy: Knative's autoscaler (pkg/autoscaler/scaling/autoscaler.go, and the
// defaults of its config-autoscaler), with a slot for what it calls a request.
//
//   target  = slots of a replica × utilisation
//   wanted  = ceil(mean concurrency / target), for the stable and for the panic window,
//             from floor(ready / down rate) to ceil(ready × up rate), where ready is at least 1
//
// Panic begins once the panic window alone wants twice what is ready, lasts until that has not been
// so for a whole stable window, and takes the larger wish, never fewer than before in this panic.
// Who finds more than one replica at first begins in panic, until there is something to judge by.
// Without a call in the whole stable window it goes to zero after the grace.
//
// Unlike there, calls wait in one queue before all replicas, so that the burst capacity decides no
// route: excess_burst is told as a number only.
//
// Thread: whoever owns the object.
#pragma once

#include <optional>

#include "policy/autoscaler.h"

namespace glowplug::policy {

struct ConcurrencySettings {
  double utilisation = 0.7;
  Duration stable_window = std::chrono::seconds(kStableSeconds);
  double panic_threshold = 2;  // times what is ready
  double up_rate = 1000, down_rate = 2;
  Duration zero_grace = std::chrono::seconds(30);
  int burst_capacity = 0;  // slots; 0 = no matter, below = without bound; as in Knative
};

double replicas_for(double concurrency, double target);  // a whole number

class ConcurrencyScaler final : public Autoscaler {
 public:
  explicit ConcurrencyScaler(ConcurrencySettings settings = {}) : settings_(settings) {}
  ScaleWish decide(const LoadFacts& facts, Time now) override;
  std::optional<Time> review(Time now) const override;

  double target(const LoadFacts& facts) const { return facts.slots * settings_.utilisation; }

 private:
  void note_panic(const LoadFacts& facts, double wanted_in_panic);
  int excess_burst(const LoadFacts& facts) const;

  ConcurrencySettings settings_;
  bool begun_ = false;
  Time latest_ = Time::min();
  std::optional<Time> panic_since_;  // since it was last so
  int most_in_panic_ = 0;
  std::optional<Time> still_since_;
};

}  // namespace glowplug::policy
