// A heap of small entries whose owners forget without telling it: who takes the first one drops
// those that are of nothing any more, and where most are, all of them are dropped at once.
//
// Memory follows the number of entries, down too. steps() counts comparisons, so that a test can
// show what an operation costs.
//
// Thread: one owner.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/time_types.h"
#include "domain/job.h"

namespace glowplug::control {

template <typename Entry>  // the smallest is first
class JobHeap final {
 public:
  bool empty() const { return entries_.empty(); }
  std::size_t size() const { return entries_.size(); }
  const Entry& top() const { return entries_.front(); }
  std::size_t bytes() const { return entries_.capacity() * sizeof(Entry); }
  std::uint64_t steps() const { return steps_; }

  void push(Entry entry) {
    entries_.push_back(entry);
    std::push_heap(entries_.begin(), entries_.end(), later());
  }
  void pop() {
    std::pop_heap(entries_.begin(), entries_.end(), later());
    entries_.pop_back();
    if (entries_.size() < entries_.capacity() / 4) fit();
  }

  template <typename Alive>
  void drop_dead_top(const Alive& alive) {
    while (!empty() && !alive(top())) pop();
  }
  // `living` of the entries are of something still.
  template <typename Alive>
  void compact(std::size_t living, const Alive& alive) {
    if (size() <= 2 * living + kDeadKept) return;
    std::erase_if(entries_, [&alive](const Entry& entry) { return !alive(entry); });
    std::make_heap(entries_.begin(), entries_.end(), later());
    fit();
  }

 private:
  static constexpr std::size_t kDeadKept = 256;

  auto later() {
    return [this](const Entry& a, const Entry& b) {
      ++steps_;
      return b < a;
    };
  }
  void fit() {
    if (entries_.capacity() <= kDeadKept) return;
    std::vector<Entry> fitted;
    fitted.reserve(std::max(2 * entries_.size(), kDeadKept));
    fitted.assign(entries_.begin(), entries_.end());
    entries_ = std::move(fitted);
  }

  std::vector<Entry> entries_;
  std::uint64_t steps_ = 0;
};

// A moment in the course of a job, or of whatever else has a number.
struct JobTimer {
  Time at{};
  std::uint64_t of = 0;
  friend auto operator<=>(const JobTimer&, const JobTimer&) = default;
};

}  // namespace glowplug::control
