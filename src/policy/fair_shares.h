// Whose call is next where several wait for one function's slots: first those that give way to no
// other, and among them that of the tenant who has had least of the slots. The virtual token
// counters of Sheng et al. (OSDI 2024), counting slot time instead of tokens: slots are what is
// short, and a token's time differs from model to model.
//
// A tenant that comes back after a pause counts from the least of those that wait, or from whoever
// was granted last where nobody waits, so that nobody saves up; and one that took more than its
// share still owes it.
//
// Thread: values; whoever owns them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/time_types.h"

namespace glowplug::policy {

struct QueuedCall {
  const std::string& tenant;
  double slot_seconds = 0;  // that it is expected to take
  bool gives_way = false;   // to all that do not
};

// For half of the time that it may wait, and for this at most, a batch's call lets others by; then
// it has its turn like them, so that it never starves.
inline constexpr Duration kGivesWayMost = std::chrono::seconds(30);
constexpr bool still_gives_way(Duration waited, Duration may_wait) {
  return waited < std::min(kGivesWayMost, may_wait / 2);
}

class FairShares final {
 public:
  // Before it joins those that wait.
  void arrived(const std::string& tenant, std::span<const QueuedCall> waiting);
  // What the call is expected to take, and at its end by how much it was more or less.
  void granted(const std::string& tenant, double slot_seconds);
  void ended(const std::string& tenant, double more_slot_seconds);
  // Positions in `waiting`, the first to be granted first; calls of one tenant that give way alike
  // stay in their order.
  std::vector<std::size_t> order(std::span<const QueuedCall> waiting) const;
  void clear();  // once nobody uses the function

 private:
  double had(const std::string& tenant) const;
  void set(const std::string& tenant, double slot_seconds);

  std::map<std::string, double> had_;  // slot-seconds
  double of_last_ = 0;                 // of whoever was granted last
};

}  // namespace glowplug::policy
