// Whose call is next where several tenants wait for one function's slots: whoever has had least of
// them. The virtual token counters of Sheng et al. (OSDI 2024), counting slot time instead of
// tokens: slots are what is short, and a token's time differs from model to model.
//
// A tenant that comes back after a pause counts from the least of those that wait, so that nobody
// saves up; and one that took more than its share still owes it.
//
// Thread: values; whoever owns them.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace glowplug::policy {

struct QueuedCall {
  const std::string& tenant;
  double slot_seconds = 0;  // that it is expected to take
};

class FairShares final {
 public:
  // Before it joins those that wait.
  void arrived(const std::string& tenant, std::span<const QueuedCall> waiting);
  // What is expected at the grant, and at the end by how much it was more or less.
  void charge(const std::string& tenant, double slot_seconds);
  // Positions in `waiting`, the first to be granted first; calls of one tenant stay in their order.
  std::vector<std::size_t> order(std::span<const QueuedCall> waiting) const;
  void clear() { had_.clear(); }  // once nobody uses the function

 private:
  double had(const std::string& tenant) const;

  std::map<std::string, double> had_;  // slot-seconds
};

}  // namespace glowplug::policy
