#include "worker/staged_upload.h"

#include <algorithm>
#include <cstring>
#include <system_error>
#include <utility>

namespace glowplug::worker {
namespace {

// The next upload mostly follows within a few µs: waking a sleeping thread takes longer.
constexpr int kLooksBeforeSleep = 2000;

void breathe() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Returns once the number is no longer that.
template <typename Number>
void wait_while(const std::atomic<Number>& number, Number value) {
  for (int look = 0; look < kLooksBeforeSleep; ++look) {
    if (number.load(std::memory_order_acquire) != value) return;
    breathe();
  }
  number.wait(value, std::memory_order_acquire);
}

}  // namespace

StagedUpload::StagedUpload(std::vector<std::unique_ptr<UploadLane>> lanes)
    : lanes_(std::move(lanes)) {
  try {
    for (std::size_t i = 1; i < lanes_.size(); ++i)
      threads_.emplace_back([this, i] { work(*lanes_[i]); });
  } catch (const std::system_error&) {  // no further thread: those that started carry more
  }
}

StagedUpload::~StagedUpload() {
  ends_.store(true);
  round_.fetch_add(1);
  round_.notify_all();
}

void StagedUpload::upload(void* target, const std::byte* from, std::size_t offset,
                          std::size_t bytes) {
  job_ = {target, from, offset, bytes};
  next_.store(0, std::memory_order_relaxed);
  busy_.store(threads_.size(), std::memory_order_relaxed);
  round_.fetch_add(1, std::memory_order_release);
  round_.notify_all();
  carry(*lanes_.front());
  for (std::size_t left = busy_.load(std::memory_order_acquire); left != 0;
       left = busy_.load(std::memory_order_acquire))
    wait_while(busy_, left);
}

void StagedUpload::work(UploadLane& lane) {
  for (std::uint32_t seen = 0;; ++seen) {
    wait_while(round_, seen);
    if (ends_.load()) return;
    carry(lane);
    if (busy_.fetch_sub(1, std::memory_order_acq_rel) == 1) busy_.notify_one();
  }
}

void StagedUpload::carry(UploadLane& lane) {
  const Job job = job_;
  bool sent = false;
  for (;;) {
    const std::size_t at = next_.fetch_add(kUploadPiece, std::memory_order_relaxed);
    if (at >= job.bytes) break;
    const std::size_t bytes = std::min(kUploadPiece, job.bytes - at);
    std::memcpy(lane.room(), job.from + at, bytes);
    lane.send(job.target, job.offset + at, bytes);
    sent = true;
  }
  if (sent) lane.finish();
}

}  // namespace glowplug::worker
