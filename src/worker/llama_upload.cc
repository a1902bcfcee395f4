#include "worker/llama_upload.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <memory>
#include <sched.h>
#include <utility>
#include <vector>

#include "ggml-backend.h"
#include "ggml-cpp.h"
#include "worker/staged_upload.h"

namespace glowplug::worker {
namespace {

// Four carry two fifths of what the link does, eight two thirds; sixteen gain little or lose.
constexpr int kLanesMax = 8;
constexpr std::size_t kPiecesOfALane = 2;  // one is filled while the device reads the other
constexpr std::size_t kUploadMin = 2 * kUploadPiece;  // below it, several cores gain nothing

class DeviceLane final : public UploadLane {
 public:
  // Null where the device refuses.
  static std::unique_ptr<DeviceLane> open(ggml_backend_dev_t device) {
    auto lane = std::make_unique<DeviceLane>();
    lane->backend_.reset(ggml_backend_dev_init(device, nullptr));
    if (!lane->backend_) return nullptr;
    for (Piece& piece : lane->pieces_) {
      piece.memory.reset(
          ggml_backend_buft_alloc_buffer(ggml_backend_dev_host_buffer_type(device), kUploadPiece));
      piece.read.reset(ggml_backend_event_new(device));
      if (!piece.memory || !piece.read) return nullptr;
    }
    return lane;
  }

  std::byte* room() override {
    at_ = (at_ + 1) % pieces_.size();
    ggml_backend_event_synchronize(pieces_[at_].read.get());
    return static_cast<std::byte*>(ggml_backend_buffer_get_base(pieces_[at_].memory.get()));
  }
  void send(void* target, std::size_t offset, std::size_t bytes) override {
    const Piece& piece = pieces_[at_];
    ggml_backend_tensor_set_async(backend_.get(), static_cast<ggml_tensor*>(target),
                                  ggml_backend_buffer_get_base(piece.memory.get()), offset, bytes);
    ggml_backend_event_record(piece.read.get(), backend_.get());
  }
  void finish() override { ggml_backend_synchronize(backend_.get()); }

 private:
  struct Piece {
    ggml_backend_buffer_ptr memory;
    ggml_backend_event_ptr read;
  };
  ggml_backend_ptr backend_;
  std::array<Piece, kPiecesOfALane> pieces_;
  std::size_t at_ = 0;
};

int cores() {
  cpu_set_t set;
  return ::sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

std::unique_ptr<StagedUpload> open_lanes(ggml_backend_dev_t device) {
  ggml_backend_dev_props facts{};
  ggml_backend_dev_get_props(device, &facts);
  if (!facts.caps.async || !facts.caps.host_buffer || !facts.caps.events) return nullptr;
  std::vector<std::unique_ptr<UploadLane>> lanes;
  for (int i = 0; i < std::clamp(cores(), 1, kLanesMax); ++i) {
    auto lane = DeviceLane::open(device);
    if (!lane) break;
    lanes.push_back(std::move(lane));
  }
  return lanes.empty() ? nullptr : std::make_unique<StagedUpload>(std::move(lanes));
}

// The lanes to one device: a model on several opens them anew where the device changes. Owner: the
// thread that loads; the linker's function takes no argument of ours.
struct OpenLanes {
  ggml_backend_dev_t device = nullptr;
  std::unique_ptr<StagedUpload> upload;  // null where the device has none
  std::size_t bytes = 0;                 // that were sent
  std::chrono::duration<double> took{};  // seconds for them
  bool closed = false;                   // what a step computes from is no load

  StagedUpload* to(ggml_backend_dev_t other) {
    if (other != device) {
      upload.reset();
      upload = open_lanes(other);
      device = other;
    }
    return upload.get();
  }
};
// Never destroyed: a process that ends before its model is loaded leaves it to the driver.
OpenLanes& open_one = *new OpenLanes;  // tidy: because the driver may be gone at exit

// The lanes to where the tensor lies; null where it is better set as ever.
StagedUpload* lanes_to(const ggml_tensor& tensor, std::size_t bytes) {
  if (open_one.closed || bytes < kUploadMin || tensor.view_src != nullptr ||
      tensor.buffer == nullptr)
    return nullptr;
  const ggml_backend_buffer_type_t kind = ggml_backend_buffer_get_type(tensor.buffer);
  ggml_backend_dev_t device = ggml_backend_buft_get_device(kind);
  if (device == nullptr || ggml_backend_dev_type(device) != GGML_BACKEND_DEVICE_TYPE_GPU ||
      kind != ggml_backend_dev_buffer_type(device))
    return nullptr;  // in the machine's memory, or split over devices
  return open_one.to(device);
}

}  // namespace

void open_device() {
  ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_GPU);
  if (device == nullptr) return;
  (void)ggml_backend_dev_init(device, nullptr);  // kept for its context
  (void)open_one.to(device);
}

void close_uploads() {
  if (open_one.bytes > 0) {
    const double gigabytes = static_cast<double>(open_one.bytes) / 1e9;
    std::fprintf(stderr, "%.2f GB of weights put on the GPU at %.1f GB/s\n", gigabytes,
                 gigabytes / open_one.took.count());
  }
  open_one.upload.reset();
  open_one.closed = true;
}

}  // namespace glowplug::worker

// The linker's names: __real_ is the engine's function, __wrap_ takes its place.
// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" {

void __real_ggml_backend_tensor_set(ggml_tensor* tensor, const void* data, std::size_t offset,
                                    std::size_t size);

void __wrap_ggml_backend_tensor_set(ggml_tensor* tensor, const void* data, std::size_t offset,
                                    std::size_t size) {
  using glowplug::worker::open_one;
  auto* lanes = glowplug::worker::lanes_to(*tensor, size);
  if (lanes == nullptr) return __real_ggml_backend_tensor_set(tensor, data, offset, size);
  const auto began = std::chrono::steady_clock::now();
  lanes->upload(tensor, static_cast<const std::byte*>(data), offset, size);
  open_one.took += std::chrono::steady_clock::now() - began;
  open_one.bytes += size;
}

}  // extern "C"
// NOLINTEND(bugprone-reserved-identifier)
