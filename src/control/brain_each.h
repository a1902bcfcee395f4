// How the brain goes through what it has, as templates: the end of brain.h, which alone includes
// it. Thread: as brain.h.
#pragma once

#include "control/brain.h"

namespace glowplug::control {

template <typename Visit>
void Brain::each_replica(const std::string& name, int revision, const Visit& visit) {
  for (ReplicaEntry* entry : replicas_of(name))
    if (entry->second.revision == revision) visit(*entry);
}

template <typename Visit>
void Brain::each_replica(const std::string& name, int revision, const Visit& visit) const {
  const_cast<Brain*>(this)->each_replica(name, revision,
                                         [&visit](const ReplicaEntry& entry) { visit(entry); });
}

// Whoever used it last uses it most often still.
template <typename Uses>
bool Brain::anybody(TemplateEntry& entry, const Uses& uses) {
  const auto last = functions_.find(entry.second.used_by);
  if (last != functions_.end() && uses(last->second)) return true;
  for (const auto& [name, function] : functions_) {
    if (!uses(function)) continue;
    entry.second.used_by = name;
    return true;
  }
  return false;
}

template <typename Value, typename Compute>
const Value& Brain::known(Known<Value>& memo, const Compute& compute) const {
  const std::uint64_t state = settling_ ? changes_ + effects_.list.size() : ++changes_;
  if (memo.state != state) {
    memo.value = compute();
    memo.state = state;
  }
  return memo.value;
}

}  // namespace glowplug::control
