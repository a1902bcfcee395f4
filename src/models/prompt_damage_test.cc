// Damaged, forged, foreign and misplaced prompt states: each is refused with its reason and
// removed, none is served.
#include <fcntl.h>
#include <filesystem>
#include <map>
#include <numeric>

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "domain/errors.h"
#include "domain/limits.h"
#include "models/prompt_store.h"
#include "models/sha256.h"
#include "models/test_states.h"

namespace glowplug::models {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kDigestBytes = 64;
const Tokens kTokens{1, 2, 3};
constexpr std::size_t kDataBytes = 50;

std::uint64_t refusals(const PromptStore& store) {
  const auto counts = store.counts();
  return std::accumulate(counts.refused.begin(), counts.refused.end(), std::uint64_t{0});
}

class PromptDamage : public ::testing::Test {
 protected:
  void SetUp() override {
    id_ = StateWorld::keep(world_.open(), kTokens, kDataBytes);
    world_.close();
    ASSERT_EQ(world_.files().size(), 1u);
    path_ = world_.files()[0];
    good_ = file_text(path_);
    header_bytes_ = good_.size() - (sizeof(kTokens[0]) * kTokens.size() + 16) - (kDataBytes + 16);
  }

  // After a restart on `text` in place of the file: asks for it as its owner would.
  PromptStore& restart_on(const std::string& text) {
    world_.close();
    write_file(path_, text);
    return world_.open();
  }
  void expect_refused(PromptStore& store, StateRefusal reason, const std::string& what) {
    (void)store.remembered(kAnn, kFit);
    EXPECT_FALSE(store.load(kAnn, kFit, id_).ok()) << what;
    EXPECT_TRUE(store.remembered(kAnn, kFit).empty()) << what;
    EXPECT_EQ(store.counts().refused_for(reason), 1u) << what;
    EXPECT_FALSE(fs::exists(path_)) << what;
  }
  std::string flipped(std::size_t at, int bit = 0) const {
    std::string text = good_;
    text[at] = static_cast<char>(text[at] ^ (1 << bit));
    return text;
  }
  // As somebody would who knows the format but no key.
  std::string with_new_digest(std::string text) const {
    const std::size_t body = header_bytes_ - kDigestBytes;
    return text.replace(body, kDigestBytes, sha256_hex(text.substr(0, body)));
  }

  StateWorld world_;
  std::uint64_t id_ = 0;
  std::string path_;
  std::string good_;
  std::size_t header_bytes_ = 0;
};

TEST_F(PromptDamage, Untouched_IsServed) {
  PromptStore& store = restart_on(good_);
  EXPECT_EQ(store.remembered(kAnn, kFit).size(), 1u);
  const auto fd = store.load(kAnn, kFit, id_);
  ASSERT_TRUE(fd.ok());
  EXPECT_EQ(text_of(fd->get()), engine_text(kTokens, kDataBytes));
  EXPECT_EQ(refusals(store), 0u);
}

TEST_F(PromptDamage, BitFlippedAnywhere_IsRefusedForItsReason) {
  for (std::size_t at = 0; at < good_.size(); ++at) {
    const StateRefusal reason = at < 8               ? StateRefusal::NotAState
                                : at < 12            ? StateRefusal::ForeignVersion
                                : at < header_bytes_ ? StateRefusal::HeaderDamaged
                                                     : StateRefusal::NotAuthentic;
    std::string text = flipped(at, static_cast<int>(at % 8));
    PromptStore& store = restart_on(text);
    if (at < 12 || at >= 16) {
      expect_refused(store, reason, "byte " + std::to_string(at));
      continue;
    }
    EXPECT_FALSE(store.load(kAnn, kFit, id_).ok());  // the header's length: damaged or too short
    EXPECT_EQ(store.counts().refused_for(StateRefusal::HeaderDamaged) +
                  store.counts().refused_for(StateRefusal::WrongLength),
              1u);
    EXPECT_FALSE(fs::exists(path_));
  }
}

// Of a model with a sliding window it holds the last window alone, and would be cut all the same.
TEST_F(PromptDamage, OfTheVersionBefore_IsRefusedAndRemoved) {
  std::string text = good_;
  ASSERT_EQ(text[8], 2);
  text[8] = 1;
  PromptStore& store = restart_on(with_new_digest(std::move(text)));
  expect_refused(store, StateRefusal::ForeignVersion, "version 1");
}

TEST_F(PromptDamage, BitFlippedWhileTheStoreIsOpen_IsRefused) {
  for (std::size_t at = 0; at < good_.size(); at += 7) {
    PromptStore& store = restart_on(good_);
    ASSERT_EQ(store.remembered(kAnn, kFit).size(), 1u);
    write_file(path_, flipped(at));
    EXPECT_FALSE(store.load(kAnn, kFit, id_).ok()) << at;
    EXPECT_EQ(refusals(store), 1u) << at;
    EXPECT_TRUE(store.remembered(kAnn, kFit).empty()) << at;
    EXPECT_FALSE(fs::exists(path_)) << at;
  }
}

// The digest of the header is no secret; with it made anew, the tags must find the change. Some
// changes make it the file of another owner or fit: he is not served either.
TEST_F(PromptDamage, ForgedHeader_IsServedToNobody) {
  std::map<StateRefusal, int> reasons;
  for (std::size_t at = 0; at < header_bytes_ - kDigestBytes; ++at) {
    PromptStore& store = restart_on(with_new_digest(flipped(at)));
    (void)store.remembered(kAnn, kFit);
    EXPECT_FALSE(store.load(kAnn, kFit, id_).ok()) << at;
    for (const StateSummary& row : store.list()) {
      const UniqueFd fd(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
      const auto forged = read_header(fd.get());
      ASSERT_TRUE(forged) << at;
      EXPECT_TRUE(store.remembered(forged->owner, forged->fit).empty()) << at;
      EXPECT_FALSE(store.load(forged->owner, forged->fit, row.id).ok()) << at;
    }
    for (const StateRefusal reason : kStateRefusals)
      if (store.counts().refused_for(reason) > 0) ++reasons[reason];
    EXPECT_FALSE(fs::exists(path_)) << at;
  }
  EXPECT_GT(reasons[StateRefusal::NotAuthentic], 100);  // times, salt, texts of the fit, domain
  EXPECT_GT(reasons[StateRefusal::NoKey], 0);           // another tenant's name
  EXPECT_GT(reasons[StateRefusal::WrongLength], 0);     // counts of tokens and bytes
  EXPECT_GT(reasons[StateRefusal::ForeignVersion], 0);
}

TEST_F(PromptDamage, CutOffAnywhereOrLonger_HasTheWrongLength) {
  for (std::size_t bytes = 0; bytes < good_.size(); ++bytes)
    expect_refused(restart_on(good_.substr(0, bytes)), StateRefusal::WrongLength,
                   std::to_string(bytes) + " bytes");
  expect_refused(restart_on(good_ + "x"), StateRefusal::WrongLength, "one more");
}

TEST_F(PromptDamage, CutOffWhileTheStoreIsOpen_HasTheWrongLength) {
  PromptStore& store = restart_on(good_);
  ASSERT_EQ(store.remembered(kAnn, kFit).size(), 1u);
  fs::resize_file(path_, good_.size() - 1);
  expect_refused(store, StateRefusal::WrongLength, "one byte");
}

TEST_F(PromptDamage, FileOfAnotherState_IsRefused) {
  PromptStore& store = restart_on(good_);
  const std::uint64_t other = StateWorld::keep(store, {4, 5, 6}, kDataBytes);
  const std::string theirs =
      file_text(world_.files()[0] == path_ ? world_.files()[1] : world_.files()[0]);
  EXPECT_EQ(store.remembered(kAnn, kFit).size(), 2u);
  write_file(path_, theirs);
  EXPECT_FALSE(store.load(kAnn, kFit, id_).ok());
  EXPECT_EQ(store.counts().refused_for(StateRefusal::HeaderDamaged), 1u);
  EXPECT_TRUE(store.load(kAnn, kFit, other).ok());
}

TEST_F(PromptDamage, SectionsOfAnotherState_AreNotAuthentic) {
  PromptStore& store = restart_on(good_);
  const std::uint64_t other = StateWorld::keep(store, {4, 5, 6}, kDataBytes);
  const std::string theirs =
      file_text(world_.files()[0] == path_ ? world_.files()[1] : world_.files()[0]);
  ASSERT_TRUE(store.drop(other).ok());
  ASSERT_EQ(theirs.size(), good_.size());
  const std::size_t data_at = good_.size() - kDataBytes - 16;
  expect_refused(restart_on(good_.substr(0, data_at) + theirs.substr(data_at)),
                 StateRefusal::NotAuthentic, "data");
  expect_refused(restart_on(good_.substr(0, header_bytes_) + theirs.substr(header_bytes_)),
                 StateRefusal::NotAuthentic, "tokens and data");
}

TEST_F(PromptDamage, NoPlainFile_IsRefusedAndNotFollowed) {
  fs::rename(path_, path_ + ".elsewhere");
  fs::create_symlink(path_ + ".elsewhere", path_);
  expect_refused(world_.open(), StateRefusal::NotAState, "a link");
  EXPECT_TRUE(fs::exists(path_ + ".elsewhere"));
  world_.close();
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  expect_refused(world_.open(), StateRefusal::NotAState, "a pipe that nobody writes");
  world_.close();
  fs::create_directory(path_);
  EXPECT_FALSE(world_.open().load(kAnn, kFit, id_).ok());
}

TEST_F(PromptDamage, KeyGone_IsRefused) {
  fs::remove_all(world_.options.folder + "/keys");
  expect_refused(world_.open(), StateRefusal::NoKey, "no key file");
}

TEST_F(PromptDamage, MasterKeyExchanged_IsRefusedAndNewStatesAreKept) {
  write_file(world_.options.folder + "/master.key", std::string(32, 'x'));
  PromptStore& store = world_.open();
  expect_refused(store, StateRefusal::NoKey, "another master key");
  EXPECT_NE(StateWorld::keep(store, {1}), 0u);
}

TEST_F(PromptDamage, FileRemovedWhileTheStoreIsOpen_IsUnknown) {
  PromptStore& store = restart_on(good_);
  fs::remove(path_);
  EXPECT_EQ(store.load(kAnn, kFit, id_).error().code, domain::error::kNotFound);
  EXPECT_TRUE(store.list().empty());
}

struct EngineCase {
  std::string name;
  std::string text;
  StateRefusal reason;
};

std::string engine_head(std::uint32_t magic, std::uint32_t version, std::uint32_t count) {
  const std::uint32_t head[3] = {magic, version, count};
  return {reinterpret_cast<const char*>(head), sizeof(head)};
}

TEST(PromptStoreKeep, WhatIsNoStateOfTheEngine_IsRefused) {
  const auto head = [](std::uint32_t count) {
    return engine_head(kEngineStateMagic, kEngineStateVersion, count);
  };
  const std::vector<EngineCase> cases{
      {"empty", "", StateRefusal::WrongLength},
      {"half a head", head(1).substr(0, 11), StateRefusal::WrongLength},
      {"other magic", engine_head(0x67677370, 3, 1) + "1234", StateRefusal::NotAState},
      {"other version", engine_head(kEngineStateMagic, 4, 1) + "1234",
       StateRefusal::ForeignVersion},
      {"no token", head(0), StateRefusal::NotAState},
      {"tokens cut off", head(2) + "1234567", StateRefusal::WrongLength},
      {"too many tokens", head(domain::kContextMax + 1) + "1234", StateRefusal::TooLarge},
      {"a count that overflows", head(0xffffffff) + "1234", StateRefusal::TooLarge}};
  StateWorld world;
  PromptStore& store = world.open();
  std::map<StateRefusal, std::uint64_t> expected;
  for (const EngineCase& one : cases) {
    EXPECT_FALSE(store.keep(kAnn, kFit, memory_file(one.text).get()).ok()) << one.name;
    EXPECT_EQ(store.counts().refused_for(one.reason), ++expected[one.reason]) << one.name;
  }
  int pipe_ends[2];
  ASSERT_EQ(::pipe2(pipe_ends, O_CLOEXEC), 0);
  const UniqueFd reading(pipe_ends[0]), writing(pipe_ends[1]);
  EXPECT_FALSE(store.keep(kAnn, kFit, reading.get()).ok());
  EXPECT_FALSE(store.keep(kAnn, kFit, -1).ok());
  EXPECT_EQ(store.counts().states, 0u);
  EXPECT_TRUE(world.files().empty());
}

}  // namespace
}  // namespace glowplug::models
