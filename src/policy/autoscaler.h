// How many replicas a function wants by its load: one interface, one policy behind it for each
// function (`scale.policy`), asked every 2 s while calls come.
//
//   threshold    steps: two more when calls queue, wait long or start cold, one less when none do
//
//   concurrency  Knative's: as many as keep the slots 70 % busy; the default
//
//   predictive   concurrency, and ahead of it what the day so far lets expect; the last replica
//                stays no longer than its function's idle times make worth while
//
// A wish is no order. The first call wakes a function outside any of these rules, the last replica
// stays for keep_time(), and memory and cores may allow fewer than are wanted; who asks sees to
// that.
//
// Thread: whoever owns the object. Knows no replica by name and no manifest.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/time_types.h"
#include "domain/manifest.h"
#include "policy/metrics_window.h"

namespace glowplug::policy {

inline constexpr Duration kScaleTick = std::chrono::seconds(2);
inline constexpr int kStableSeconds = 60;
inline constexpr int kPanicSeconds = 6;

// Of one revision of a function. The wish is at least `least` and never more than `most`.
struct LoadFacts {
  int queue = 0;             // calls that wait
  int ready = 0;             // replicas that take calls
  int live = 0;              // those, and those on their way
  int least = 0;             // scale.min, or what else holds replicas
  int most = 20;             // scale.max
  int slots = 4;             // of one replica
  Duration start_time = {};  // from a start to ready, as last measured; zero = not known
  WindowSums stable = {};    // over kStableSeconds
  WindowSums panic = {};     // over kPanicSeconds
};

// What it was decided by, and in which unit `value` and `limit` are.
enum class ScaleRule {
  Hold,        // calls in the queue
  QueueLong,   // the same
  QueueShort,  // the same
  Slow,        // milliseconds to the first token
  ColdStarts,  // share of the calls
  Stable,      // slots, and how many a replica is to have busy
  Panic,       // the same
  Grace,       // seconds without a call
  Forecast,    // slots, as for Stable
  Expected,    // seconds without a call, and after how many the next is expected
};

struct ScaleWish {
  int wanted = 0;
  int asked = 0;  // by the rule, before `least` and `most`
  ScaleRule rule = ScaleRule::Hold;
  double value = 0, limit = 0;
  std::uint64_t samples = 0;  // behind a mean or a share
  int excess_burst = 0;       // slots that a burst would leave free; below zero it would queue
  friend bool operator==(const ScaleWish&, const ScaleWish&) = default;
};

// "concurrency 5.6 over 60 s, 2.8 for a replica: 2".
std::string in_words(const ScaleWish& wish);

// With `wanted` from `asked`.
ScaleWish within_bounds(ScaleWish wish, const LoadFacts& facts);

class Autoscaler {
 public:
  virtual ~Autoscaler() = default;
  // At each tick; time that steps back counts as the latest seen.
  virtual ScaleWish decide(const LoadFacts& facts, Time now) = 0;
  // Between no calls and some, waiting or running.
  virtual void note_busy(Time) {}
  virtual void note_idle(Time) {}
  // When to ask again although no call comes; none = not before one does.
  virtual std::optional<Time> review(Time) const { return std::nullopt; }
  // How long the last replica stays idle where keep_alive is so long; never longer.
  virtual Duration keep_time(Duration keep_alive) { return keep_alive; }
};

std::unique_ptr<Autoscaler> make_autoscaler(domain::ScalePolicy policy);

}  // namespace glowplug::policy
