// With how many threads the engine computes: those of its start, until the server says otherwise as
// neighbours come and go.
//
//   server ──{"threads":2} + a descriptor──▶  from its next step on
//
// Thread: obey() on the thread that reads orders, now() on the engine's.
#pragma once

#include <atomic>

#include "worker/order.h"

namespace glowplug::worker {

class ThreadCount final {
 public:
  // `most`: what there are threads for.
  struct Options {
    int threads = 1, most = 1;
  };
  explicit ThreadCount(const Options& options) : most_(options.most), now_(options.threads) {}

  // Of any order; what says nothing of threads changes nothing, nor does what is no number above
  // zero. More than there are threads for are as many as there are.
  void obey(const Order& order);
  int now() const { return now_.load(std::memory_order_relaxed); }

 private:
  const int most_;
  std::atomic<int> now_;
};

}  // namespace glowplug::worker
