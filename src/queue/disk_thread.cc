#include "queue/disk_thread.h"

#include <utility>

namespace glowplug::queue {

DiskThread::DiskThread(Deliver deliver)
    : deliver_(std::move(deliver)), thread_([this] { run(); }) {}

DiskThread::~DiskThread() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ending_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void DiskThread::post(Work work, Work done) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    waiting_.push_back({std::move(work), std::move(done)});
  }
  changed_.notify_one();
}

void DiskThread::run() {
  while (true) {
    Step step;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [this] { return ending_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      step = std::move(waiting_.front());
      waiting_.pop_front();
    }
    step.work();
    step.work = nullptr;
    if (step.done) deliver_(std::move(step.done));
  }
}

}  // namespace glowplug::queue
