// Weights on their way to a device, at the speed of its link.
//
//   mapped file ──copy──▶ pinned pieces ──device reads──▶ its memory
//                 └ one thread a lane, each with pieces of its own
//
// A device reads only pinned memory by itself; from any other its driver copies piece by piece, on
// one core, at a tenth of what the link carries. Pinning a whole model takes longer than copying it
// through a few pinned pieces on several cores (docs/decisions/0011).
//
// Thread: the owner's; upload() returns when all is there. Between uploads the lanes' threads
// sleep.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

namespace glowplug::worker {

// One thread's way to the device.
class UploadLane {
 public:
  UploadLane() = default;
  UploadLane(const UploadLane&) = delete;
  UploadLane& operator=(const UploadLane&) = delete;
  virtual ~UploadLane() = default;

  // Room for kUploadPiece bytes that the device is done with; waits for it.
  virtual std::byte* room() = 0;
  // Sends the first bytes of the last room() to `offset` of the target.
  virtual void send(void* target, std::size_t offset, std::size_t bytes) = 0;
  // Waits until all that was sent has arrived.
  virtual void finish() = 0;
};

inline constexpr std::size_t kUploadPiece = 512 << 10;  // bytes

class StagedUpload final {
 public:
  // At least one lane; a thread for each but the first, which the caller of upload() drives. Where
  // the machine gives fewer threads, as many lanes carry nothing.
  explicit StagedUpload(std::vector<std::unique_ptr<UploadLane>> lanes);
  ~StagedUpload();
  StagedUpload(const StagedUpload&) = delete;
  StagedUpload& operator=(const StagedUpload&) = delete;

  void upload(void* target, const std::byte* from, std::size_t offset, std::size_t bytes);

 private:
  struct Job {
    void* target = nullptr;
    const std::byte* from = nullptr;
    std::size_t offset = 0, bytes = 0;
  };
  void work(UploadLane& lane);
  void carry(UploadLane& lane);

  std::vector<std::unique_ptr<UploadLane>> lanes_;
  Job job_;                              // written between uploads
  std::atomic<std::size_t> next_{0};     // the first byte that no lane has taken
  std::atomic<std::uint32_t> round_{0};  // one more for each upload
  std::atomic<std::size_t> busy_{0};     // threads that are not through with the round
  std::atomic<bool> ends_{false};
  std::vector<std::jthread> threads_;  // last: they use what stands above
};

}  // namespace glowplug::worker
