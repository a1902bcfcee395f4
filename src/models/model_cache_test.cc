// The cache over a real folder: what is trusted, what may go, what a scrub finds.
#include "models/model_cache.h"

#include <filesystem>
#include <fstream>
#include <optional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "models/blob_scrubber.h"
#include "models/cache_room.h"
#include "models/model_store.h"
#include "models/sha256.h"
#include "models/test_folder.h"
#include "models/test_gguf.h"
#include "models/test_http_server.h"

namespace glowplug::models {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Facts = Result<domain::ModelFacts>;

class ModelCacheTest : public ::testing::Test {
 protected:
  ModelStoreOptions options(std::uint64_t budget = 0) const {
    return {.cache_dir = folder_.path(),
            .hub_url = "http://127.0.0.1:1",
            .pip_index_url = "http://127.0.0.1:1/simple",
            .private_sources_allowed = true,
            .cache_budget_bytes = budget,
            .retry_wait = Duration(1)};
  }

  // Each address has a model of its own, all of one size.
  static std::string model(const std::string& path) {
    std::string bytes = TestGguf().bytes();
    const std::string last = sha256_hex(path).substr(0, 16);  // into the weights, at the end
    return bytes.replace(bytes.size() - last.size(), last.size(), last);
  }
  static std::string digest(const std::string& path) { return sha256_hex(model(path)); }
  static std::string code(const Facts& facts) { return facts.ok() ? "ok" : facts.error().code; }

  Facts get(ModelStore& store, const std::string& path, const std::string& pin = "") {
    return store.prepare(server_.url(path), pin, {}, {});
  }
  std::string blob(const std::string& path) const {
    return fmt_path("/models/blobs/sha256-", digest(path));
  }
  std::string fmt_path(const std::string& before, const std::string& sha256) const {
    return folder_.path() + before + sha256 + ".gguf";
  }
  static void flip_last_byte(const std::string& path) {
    fs::permissions(path, fs::perms::owner_all);
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(-1, std::ios::end);
    const char last = static_cast<char>(file.get() ^ 1);
    file.seekp(-1, std::ios::end);
    file.put(last);
    file.close();
    // A test is faster than the clock of the file system.
    fs::last_write_time(path, fs::last_write_time(path) + std::chrono::seconds(1));
  }

  const TestFolder folder_;
  TestHttpServer server_{[](const TestRequest& request) {
    const std::size_t at = request.text.find(' ') + 1;
    return answer("200 OK", "", model(request.text.substr(at, request.text.find(' ', at) - at)));
  }};
  const std::uint64_t bytes_ = model("/a").size();
};

TEST_F(ModelCacheTest, UntouchedBlob_IsTrustedByALaterServer) {
  {
    ModelStore store(options());
    ASSERT_EQ(code(get(store, "/a")), "ok");
  }
  ModelStore later(options());
  bool hashed = false;
  const auto facts = later.prepare(
      server_.url("/a"), "", [&](const Progress& now) { hashed |= now.phase == "verify"; }, {});
  EXPECT_EQ(code(facts), "ok");
  EXPECT_FALSE(hashed);
}

TEST_F(ModelCacheTest, BlobThatWasTouchedOnly_IsHashedAndKept) {
  ModelStore store(options());
  const Facts facts = get(store, "/a");
  EXPECT_EQ(store.cache().fault_of(facts->path), "");
  fs::last_write_time(facts->path, fs::file_time_type{});
  EXPECT_THAT(store.cache().fault_of(facts->path), HasSubstr("has changed"));
  EXPECT_EQ(code(get(store, "/a")), "ok");
  EXPECT_EQ(store.cache().fault_of(facts->path), "");
  EXPECT_EQ(server_.requests().size(), 1u);
}

TEST_F(ModelCacheTest, FlippedByte_IsQuarantinedAndFetchedAgain) {
  ModelStore store(options());
  std::vector<std::string> damaged;
  store.cache().on_damage([&](const Damage& damage) { damaged.push_back(damage.sha256); });
  const Facts facts = get(store, "/a");
  flip_last_byte(facts->path);
  EXPECT_THAT(store.cache().fault_of(facts->path), HasSubstr("has changed"));
  EXPECT_EQ(code(get(store, "/a")), "ok");
  EXPECT_THAT(damaged, ElementsAre(digest("/a")));
  EXPECT_EQ(server_.requests().size(), 2u);
  EXPECT_EQ(*sha256_file(blob("/a"), [](std::uint64_t) { return true; }), digest("/a"));
  EXPECT_TRUE(fs::exists(fmt_path("/models/quarantine/sha256-", digest("/a"))));
  EXPECT_EQ(store.cache().counters().damaged, 1u);
}

TEST_F(ModelCacheTest, TruncatedOrRemovedBlob_IsFoundBeforeTheNextStart) {
  ModelStore store(options());
  const Facts facts = get(store, "/a");
  fs::permissions(facts->path, fs::perms::owner_all);
  fs::resize_file(facts->path, bytes_ - 100);
  EXPECT_THAT(store.cache().fault_of(facts->path), HasSubstr("bytes now"));
  EXPECT_EQ(code(get(store, "/a")), "ok");
  fs::remove(facts->path);
  EXPECT_THAT(store.cache().fault_of(facts->path), HasSubstr("is gone"));
  EXPECT_EQ(code(get(store, "/a")), "ok");
  EXPECT_EQ(server_.requests().size(), 3u);
}

TEST_F(ModelCacheTest, BlobWithoutARecord_IsHashedOnce) {
  {
    ModelStore store(options());
    ASSERT_EQ(code(get(store, "/a")), "ok");
  }
  fs::remove(folder_.path() + "/models/ledger.json");
  flip_last_byte(blob("/a"));
  ModelStore later(options());
  EXPECT_EQ(code(get(later, "/a")), "ok");
  EXPECT_EQ(server_.requests().size(), 2u);  // what nobody had verified was not taken for the model
}

TEST_F(ModelCacheTest, UsersFileThatChanges_IsFoundBeforeTheNextStart) {
  const std::string path = folder_.path() + "/own.gguf";
  std::ofstream(path, std::ios::binary) << model("/a");
  ModelStore store(options());
  store.cache().users().deploy("f", {path, ""});
  const Facts first = store.prepare(path, "", {}, {});
  ASSERT_EQ(code(first), "ok");
  const control::CacheView view = store.cache().view();
  ASSERT_EQ(view.blobs.size(), 1u);
  EXPECT_FALSE(view.blobs[0].in_cache);
  EXPECT_THAT(view.blobs[0].functions, ElementsAre("f"));
  std::ofstream(path, std::ios::binary) << model("/b") << "more";
  EXPECT_NE(store.cache().fault_of(first->path), "");
}

TEST_F(ModelCacheTest, OverBudget_TheLeastUsedGoes) {
  ModelStore store(options(2 * bytes_ + bytes_ / 2));
  const Facts a = get(store, "/a");
  ASSERT_EQ(code(get(store, "/b")), "ok");
  store.cache().note_use(a->path);
  ASSERT_EQ(code(get(store, "/c")), "ok");
  EXPECT_TRUE(fs::exists(blob("/a")));
  EXPECT_FALSE(fs::exists(blob("/b")));
  EXPECT_TRUE(fs::exists(blob("/c")));
  EXPECT_EQ(store.cache().counters().evicted, 1u);
}

TEST_F(ModelCacheTest, PinnedOrDeployed_NeverGoes_AndWhatDoesNotFitIsRefused) {
  ModelStore store(options(2 * bytes_ + bytes_ / 2));
  store.cache().users().deploy("f", {server_.url("/a"), ""});
  ASSERT_EQ(code(get(store, "/a")), "ok");
  ASSERT_EQ(code(get(store, "/b")), "ok");
  ASSERT_TRUE(store.cache().set_pin(digest("/b"), Pin::Yes));
  const Facts refused = get(store, "/c");
  ASSERT_EQ(code(refused), "no_cache_space");
  EXPECT_THAT(refused.error().message, HasSubstr("Raise --cache-budget"));
  EXPECT_TRUE(fs::exists(blob("/a")));
  EXPECT_TRUE(fs::exists(blob("/b")));
  EXPECT_EQ(store.cache().counters().refused, 1u);
  for (const auto& partial : fs::directory_iterator(folder_.path() + "/models/partial"))
    EXPECT_EQ(partial.file_size(), 0u) << partial.path();

  ASSERT_TRUE(store.cache().set_pin(digest("/b"), Pin::No));
  EXPECT_EQ(code(get(store, "/c")), "ok");
  EXPECT_FALSE(fs::exists(blob("/b")));
}

TEST_F(ModelCacheTest, FunctionDeployedAnew_KeepsItsFormerModelToo) {
  ModelStore store(options());
  store.cache().users().deploy("f", {server_.url("/a"), ""});
  ASSERT_EQ(code(get(store, "/a")), "ok");
  store.cache().users().deploy("f", {server_.url("/b"), ""});
  ASSERT_EQ(code(get(store, "/b")), "ok");
  EXPECT_EQ(store.cache().evict(digest("/a")).error().code, "blob_in_use");
  store.cache().users().remove("f");
  EXPECT_TRUE(store.cache().evict(digest("/a")));
  EXPECT_TRUE(store.cache().evict(digest("/b")));
}

TEST_F(ModelCacheTest, Evict_NamesWhoUsesIt) {
  ModelStore store(options());
  store.cache().users().deploy("chat", {server_.url("/a"), ""});
  ASSERT_EQ(code(get(store, "/a")), "ok");
  const auto refused = store.cache().evict(digest("/a"));
  EXPECT_EQ(refused.error().code, "blob_in_use");
  EXPECT_THAT(refused.error().message, HasSubstr("chat"));
  store.cache().users().remove("chat");
  ASSERT_TRUE(store.cache().set_pin(digest("/a"), Pin::Yes));
  EXPECT_THAT(store.cache().evict(digest("/a")).error().message, HasSubstr("pin"));
  EXPECT_EQ(store.cache().evict(digest("/z")).error().code, "not_found");
  EXPECT_EQ(store.cache().set_pin("../../etc", Pin::Yes).error().code, "not_found");
}

TEST_F(ModelCacheTest, WhatAnotherServerUses_StaysAndItsUseEndsWithIt) {
  ModelStore ours(options());
  {
    ModelStore other(options());
    other.cache().users().deploy("f", {server_.url("/a"), ""});
    ASSERT_EQ(code(get(other, "/a")), "ok");
    const auto refused = ours.cache().evict(digest("/a"));
    EXPECT_EQ(refused.error().code, "blob_in_use");
    EXPECT_THAT(refused.error().message, HasSubstr("another server"));
  }
  EXPECT_TRUE(ours.cache().evict(digest("/a")));
}

TEST_F(ModelCacheTest, UseCounts_OutliveServerAndEviction) {
  {
    ModelStore store(options());
    const Facts a = get(store, "/a");
    for (int i = 0; i < 3; ++i) store.cache().note_use(a->path);
    store.cache().flush();
    ASSERT_TRUE(store.cache().evict(digest("/a")));
  }
  ModelStore later(options());
  ASSERT_EQ(code(get(later, "/a")), "ok");
  EXPECT_EQ(later.cache().view().blobs[0].uses, 3u);
}

TEST_F(ModelCacheTest, View_ShowsWhatIsHeldWhere) {
  ModelStore store(options(10 * bytes_));
  ASSERT_EQ(code(get(store, "/a")), "ok");
  const control::CacheView view = store.cache().view();
  ASSERT_EQ(view.blobs.size(), 1u);
  EXPECT_THAT(view.blobs[0].names, ElementsAre(server_.url("/a")));
  EXPECT_EQ(view.blobs[0].bytes, bytes_);
  EXPECT_EQ(view.blobs[0].resident_bytes, bytes_);  // just written
  EXPECT_TRUE(view.blobs[0].verified);
  EXPECT_FALSE(view.blobs[0].pinned);
  EXPECT_EQ(view.disk_bytes, bytes_);
  EXPECT_EQ(view.disk_budget, 10 * bytes_);
  EXPECT_GT(view.disk_free, 0u);
}

TEST(CacheRoom, ATwentiethOfTheDiskStaysFree_AtMost2Gib) {
  EXPECT_EQ(free_bytes_min(64 << 20), (64u << 20) / 20);
  EXPECT_EQ(free_bytes_min(std::uint64_t{1} << 40), std::uint64_t{2} << 30);
}

TEST_F(ModelCacheTest, DiskNearlyFull_IsMadeRoomOnOrRefused) {
  ModelStore store(options());
  ASSERT_EQ(code(get(store, "/a")), "ok");
  BlobFolder folder(folder_.path());
  const BlobLedger ledger(folder.root());
  std::uint64_t free = 100;
  FunctionsOfDigest users;
  const RoomNeeds needs{.folder = folder,
                        .ledger = ledger,
                        .users = [&users] { return users; },
                        .let_go = [](const FunctionsOfDigest&) {},
                        .space =
                            [&] {
                              return DiskSpace{free + (fs::exists(blob("/a")) ? 0 : bytes_), 1000};
                            }};
  EXPECT_THAT(*make_room(needs, 50), IsEmpty());  // 50 of 1000 stay free
  const auto refused = make_room(needs, bytes_ + 100);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, "no_cache_space");
  EXPECT_THAT(refused.error().message, HasSubstr("Free some of the disk"));
  EXPECT_TRUE(fs::exists(blob("/a")));  // nothing is removed for nothing
  store.cache().users().deploy("other", {server_.url("/b"), ""});
  ASSERT_EQ(store.cache().evict(digest("/a")).ok(), true);
  EXPECT_THAT(*make_room(needs, bytes_), IsEmpty());
}

class ScrubTest : public ModelCacheTest {
 protected:
  // Waits until the scrubber has done what it was asked for.
  void verify(ModelStore& store, const std::string& sha256) {
    store.cache().on_damage([this](const Damage& damage) { damage_ = damage; });
    const auto before = store.cache().counters().verified;
    BlobScrubber scrubber(store.cache(), {.every = Duration(0)});
    scrubber.verify_soon(sha256);
    EXPECT_TRUE(scrubber.done_within(std::chrono::seconds(20)));
    verified_ = store.cache().counters().verified > before;
    store.cache().on_damage({});
  }

  std::optional<Damage> damage_;
  bool verified_ = false;
};

TEST_F(ScrubTest, WholeBlob_IsVerifiedAndStays) {
  ModelStore store(options());
  ASSERT_EQ(code(get(store, "/a")), "ok");
  verify(store, digest("/a"));
  EXPECT_TRUE(verified_);
  EXPECT_FALSE(damage_);
}

// As bit rot is: nothing of the file's mark has changed.
TEST_F(ScrubTest, FlippedByte_IsMovedAsideAndTold) {
  ModelStore store(options());
  ASSERT_EQ(code(get(store, "/a")), "ok");
  flip_last_byte(blob("/a"));
  store.cache().verified(digest("/a"), blob("/a"), *mark_of(blob("/a")));
  EXPECT_EQ(store.cache().fault_of(blob("/a")), "");
  verify(store, digest("/a"));
  ASSERT_TRUE(damage_);
  EXPECT_EQ(damage_->sha256, digest("/a"));
  EXPECT_EQ(damage_->path, blob("/a"));
  EXPECT_THAT(damage_->reason, HasSubstr("SHA-256"));
  EXPECT_FALSE(fs::exists(blob("/a")));
  EXPECT_EQ(code(get(store, "/a")), "ok");
  EXPECT_EQ(server_.requests().size(), 2u);
}

TEST_F(ScrubTest, BlobThatIsGone_IsNoDamage) {
  ModelStore store(options());
  verify(store, digest("/a"));
  EXPECT_FALSE(damage_);
  EXPECT_FALSE(verified_);
}

TEST_F(ScrubTest, VerifiedByAClockThatWasADayAhead_IsDueAtOnce) {
  ManualClock ahead, right;
  ahead.advance(std::chrono::hours(48));
  right.advance(std::chrono::hours(24));
  ModelStoreOptions by_clock = options();
  by_clock.clock = &ahead;
  ASSERT_EQ(code(get(*std::make_unique<ModelStore>(by_clock), "/a")), "ok");
  by_clock.clock = &right;
  ModelStore store(by_clock);
  const std::int64_t never = 0;
  EXPECT_THAT(store.cache().by_age(), ElementsAre(std::pair(never, digest("/a"))));
  store.cache().verified(digest("/a"), blob("/a"), *mark_of(blob("/a")));
  EXPECT_THAT(store.cache().by_age(), ElementsAre(std::pair(store.cache().now_ms(), digest("/a"))));
}

TEST_F(ScrubTest, EndWhileReadingSlowly_ComesAtOnce) {
  ModelStore store(options());
  ASSERT_EQ(code(get(store, "/a")), "ok");
  const auto began = std::chrono::steady_clock::now();
  {
    const BlobScrubber scrubber(
        store.cache(), {.every = Duration(1), .look_every = Duration(0), .bytes_per_second = 1});
  }
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(10));
}

}  // namespace
}  // namespace glowplug::models
