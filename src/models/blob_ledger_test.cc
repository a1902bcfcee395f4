#include "models/blob_ledger.h"

#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "models/test_folder.h"

namespace glowplug::models {
namespace {

class BlobLedgerTest : public ::testing::Test {
 protected:
  const TestFolder folder_;
  const BlobLedger ledger_{folder_.path()};
};

TEST_F(BlobLedgerTest, WhatIsWritten_IsReadByTheNextServer) {
  const BlobRecord record{
      .verified = {.bytes = 5, .inode = 1ULL << 63, .mtime_ns = 7, .ctime_ns = 8},
      .verified_ms = 1,
      .last_used_ms = 2,
      .uses = 3,
      .floor = 4.5,
      .pinned = true};
  ASSERT_TRUE(ledger_.update([&record](LedgerState& state) {
    state.blobs["a"] = record;
    state.floor = 2.25;
  }));
  const LedgerState read = BlobLedger(folder_.path()).read();
  ASSERT_EQ(read.blobs.size(), 1u);
  const BlobRecord& back = read.blobs.at("a");
  EXPECT_EQ(back.verified, record.verified);
  EXPECT_EQ(back.verified_ms, 1);
  EXPECT_EQ(back.last_used_ms, 2);
  EXPECT_EQ(back.uses, 3u);
  EXPECT_EQ(back.floor, 4.5);
  EXPECT_TRUE(back.pinned);
  EXPECT_EQ(read.floor, 2.25);
}

TEST_F(BlobLedgerTest, BrokenOrForeignContent_CountsAsNone) {
  for (const char* text : {"", "{", "[]", R"({"blobs":[]})", R"({"blobs":{"a":1},"floor":"x"})"}) {
    std::ofstream(folder_.path() + "/ledger.json", std::ios::trunc) << text;
    EXPECT_TRUE(ledger_.read().blobs.empty()) << text;
    EXPECT_EQ(ledger_.read().floor, 0) << text;
  }
  std::ofstream(folder_.path() + "/ledger.json", std::ios::trunc)
      << R"({"blobs":{"a":{"uses":-1,"pinned":"yes","floor":null}}})";
  EXPECT_EQ(ledger_.read().blobs.at("a").uses, 0u);
  EXPECT_FALSE(ledger_.read().blobs.at("a").pinned);
}

TEST_F(BlobLedgerTest, TwoServersAtOnce_LoseNoChange) {
  constexpr int kRounds = 20;
  const auto count = [this] {
    const BlobLedger own(folder_.path());
    for (int i = 0; i < kRounds; ++i)
      EXPECT_TRUE(own.update([](LedgerState& state) { ++state.blobs["a"].uses; }));
  };
  std::thread other(count);
  count();
  other.join();
  EXPECT_EQ(ledger_.read().blobs.at("a").uses, 2u * kRounds);
}

TEST_F(BlobLedgerTest, TooManyRecords_TheLongestUnusedGoButNoPin) {
  ASSERT_TRUE(ledger_.update([](LedgerState& state) {
    state.blobs["pinned"].pinned = true;
    for (std::size_t i = 0; i < BlobLedger::kRecordsMax + 5; ++i)
      state.blobs[std::to_string(i)].last_used_ms = static_cast<std::int64_t>(i) + 1;
  }));
  const LedgerState read = ledger_.read();
  EXPECT_EQ(read.blobs.size(), BlobLedger::kRecordsMax);
  EXPECT_TRUE(read.blobs.contains("pinned"));
  EXPECT_FALSE(read.blobs.contains("0"));
  EXPECT_TRUE(read.blobs.contains(std::to_string(BlobLedger::kRecordsMax + 4)));
}

TEST_F(BlobLedgerTest, FolderThatCannotBeWritten_IsAnError) {
  EXPECT_EQ(BlobLedger("/nowhere").update([](LedgerState&) {}).error().code, "storage_failed");
}

TEST_F(BlobLedgerTest, Mark_MovesWithEveryChangeOfTheFile) {
  const std::string path = folder_.path() + "/file";
  std::ofstream(path) << "one";
  const auto first = mark_of(path);
  ASSERT_TRUE(first);
  EXPECT_EQ(*first, *mark_of(path));
  std::ofstream(path) << "two";  // of the same size; its times may be the same within a tick
  std::filesystem::last_write_time(path, std::filesystem::file_time_type{});
  EXPECT_NE(*first, *mark_of(path));
  EXPECT_FALSE(mark_of(folder_.path()));
  EXPECT_FALSE(mark_of("/nowhere"));
}

}  // namespace
}  // namespace glowplug::models
