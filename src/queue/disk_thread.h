// A thread for work on large files, which may wait for the disk: what is posted runs in order, one
// at a time, and each `done` comes back where `deliver` takes it.
//
// Nothing bounds what waits here: whoever posts has one piece under way and waits for its end.
// Thread: post() from any; the destructor runs what was posted first.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace glowplug::queue {

class DiskThread final {
 public:
  using Work = std::function<void()>;
  using Deliver = std::function<void(std::function<void()>)>;

  explicit DiskThread(Deliver deliver);
  ~DiskThread();
  DiskThread(const DiskThread&) = delete;
  DiskThread& operator=(const DiskThread&) = delete;

  void post(Work work, Work done = {});

 private:
  struct Step {
    Work work;
    Work done;
  };
  void run();

  Deliver deliver_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Step> waiting_;
  bool ending_ = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace glowplug::queue
