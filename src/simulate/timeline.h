// What is to happen at which moment, in order; of two at the same moment the one that was put first
// comes first. Thread: one owner.
#pragma once

#include <cstdint>
#include <optional>
#include <queue>
#include <utility>
#include <vector>

#include "base/time_types.h"

namespace glowplug::simulate {

template <typename What>
class Timeline final {
 public:
  void put(Time at, What what) { entries_.push({at, ++order_, std::move(what)}); }
  std::optional<Time> next() const {
    return entries_.empty() ? std::nullopt : std::optional(entries_.top().at);
  }
  What take() {
    What what = entries_.top().what;
    entries_.pop();
    return what;
  }
  bool empty() const { return entries_.empty(); }

 private:
  struct Entry {
    Time at;
    std::uint64_t order = 0;
    What what;
    bool operator>(const Entry& other) const {
      return at != other.at ? at > other.at : order > other.order;
    }
  };
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> entries_;
  std::uint64_t order_ = 0;
};

}  // namespace glowplug::simulate
