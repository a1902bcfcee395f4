#include "worker/staged_upload.h"

#include <array>
#include <atomic>
#include <cstring>
#include <random>
#include <thread>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>
#include <sys/resource.h>

namespace glowplug::worker {
namespace {

using Bytes = std::vector<std::byte>;

// A device that reads what it was sent late: when its room is wanted again, or at the end.
class LateLane final : public UploadLane {
 public:
  explicit LateLane(std::atomic<int>& sends) : sends_(sends) {}
  std::byte* room() override {
    at_ = (at_ + 1) % pieces_.size();
    read(pieces_[at_]);
    return pieces_[at_].memory.data();
  }
  void send(void* target, std::size_t offset, std::size_t bytes) override {
    pieces_[at_].to = static_cast<std::byte*>(target) + offset;
    pieces_[at_].bytes = bytes;
    ++sends_;
  }
  void finish() override {
    for (Piece& piece : pieces_) read(piece);
  }

 private:
  struct Piece {
    Bytes memory = Bytes(kUploadPiece);
    std::byte* to = nullptr;
    std::size_t bytes = 0;
  };
  static void read(Piece& piece) {
    if (piece.bytes > 0) std::memcpy(piece.to, piece.memory.data(), piece.bytes);
    piece.bytes = 0;
  }
  std::atomic<int>& sends_;
  std::array<Piece, 2> pieces_;
  std::size_t at_ = 0;
};

class StagedUploadTest : public ::testing::Test {
 protected:
  std::unique_ptr<StagedUpload> lanes(int count) {
    std::vector<std::unique_ptr<UploadLane>> made;
    for (int i = 0; i < count; ++i) made.push_back(std::make_unique<LateLane>(sends_));
    return std::make_unique<StagedUpload>(std::move(made));
  }
  Bytes random_bytes(std::size_t count) {
    Bytes bytes(count);
    for (std::byte& one : bytes) one = static_cast<std::byte>(chance_() & 0xff);
    return bytes;
  }
  std::atomic<int> sends_{0};
  std::minstd_rand chance_{4569};
};

TEST_F(StagedUploadTest, AllArrives_WhateverTheSizeAndTheLanes) {
  for (const int count : {1, 2, 5}) {
    const auto upload = lanes(count);
    for (const std::size_t size : {std::size_t{1}, kUploadPiece - 1, kUploadPiece, kUploadPiece + 1,
                                   7 * kUploadPiece, 12 * kUploadPiece + 4097}) {
      const Bytes from = random_bytes(size);
      Bytes to(size);
      upload->upload(to.data(), from.data(), 0, size);
      EXPECT_EQ(to, from) << count << " lanes, " << size << " bytes";
    }
  }
}

TEST_F(StagedUploadTest, Offset_LeavesWhatStandsBefore) {
  const Bytes from = random_bytes(2 * kUploadPiece);
  Bytes to(from.size() + 100);
  lanes(2)->upload(to.data(), from.data(), 100, from.size());
  EXPECT_EQ(Bytes(to.begin() + 100, to.end()), from);
  EXPECT_EQ(Bytes(to.begin(), to.begin() + 100), Bytes(100));
}

TEST_F(StagedUploadTest, EachPiece_IsSentOnce) {
  const Bytes from = random_bytes(9 * kUploadPiece + 1);
  Bytes to(from.size());
  lanes(3)->upload(to.data(), from.data(), 0, from.size());
  EXPECT_EQ(sends_.load(), 10);
}

// In a child of its own, as a user that may have no further thread.
TEST_F(StagedUploadTest, NoFurtherThread_OneLaneCarriesAll) {
  const Bytes from = random_bytes(9 * kUploadPiece + 1);
  Bytes to(from.size());
  const auto upload_alone = [&] {
    const rlimit none = {};
    if (::setrlimit(RLIMIT_NPROC, &none) != 0 || (::geteuid() == 0 && ::setuid(65534) != 0))
      ::_exit(2);
    lanes(3)->upload(to.data(), from.data(), 0, from.size());
    ::_exit(to == from ? 0 : 1);
  };
  EXPECT_EXIT(upload_alone(), ::testing::ExitedWithCode(0), "");
}

TEST_F(StagedUploadTest, ManyUploadsInARow_EachIsWholeWhenItReturns) {
  const auto upload = lanes(4);
  for (int turn = 0; turn < 200; ++turn) {
    Bytes from(3 * kUploadPiece, static_cast<std::byte>(turn));
    Bytes to(from.size());
    upload->upload(to.data(), from.data(), 0, from.size());
    ASSERT_EQ(to, from) << turn;
  }
}

TEST_F(StagedUploadTest, Nothing_IsSentForNothing) {
  const auto upload = lanes(2);
  upload->upload(nullptr, nullptr, 0, 0);
  EXPECT_EQ(sends_.load(), 0);
}

}  // namespace
}  // namespace glowplug::worker
