// The state file on a disk that fails and forgets: no success is told for what is not there, what
// was told is there, and the file is whole.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <random>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "storage/fault_vfs.h"
#include "storage/group_commit.h"
#include "storage/row_checksum.h"
#include "storage/test_store.h"

namespace glowplug::storage {
namespace {

namespace fs = std::filesystem;
using Kind = FaultVfs::Kind;

// Of row `n` in its `version`-th writing: some are of several pages.
std::string bytes_of(std::int64_t n, std::int64_t version) {
  std::mt19937_64 random(static_cast<std::uint64_t>(n * 1000 + version));
  std::string bytes(random() % (random() % 8 == 0 ? 20'000 : 900), '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  return bytes;
}

// What was asked and what was told of it, by row. 0 is no row.
class Ledger final {
 public:
  std::int64_t ask(std::int64_t n) {
    Row& row = rows_[n];
    row.open.push_back(++row.last);
    return row.last;
  }
  void tell(std::int64_t n, std::int64_t version, bool written) {
    Row& row = rows_[n];
    if (written) {
      row.told = version;
      std::erase_if(row.open, [version](std::int64_t open) { return open <= version; });
    }
    told_ += written;
  }
  // Those that were told an error are not there either.
  void close_open() {
    for (auto& [n, row] : rows_) row.open.clear();
  }
  // Empty when every row is what it may be.
  std::string compare(const std::map<std::int64_t, std::int64_t>& found) const {
    for (const auto& [n, version] : found)
      if (!rows_.contains(n)) return fmt::format("row {} was never asked for", n);
    for (const auto& [n, row] : rows_) {
      const auto at = found.find(n);
      const std::int64_t version = at == found.end() ? 0 : at->second;
      if (version != row.told && std::ranges::find(row.open, version) == row.open.end())
        return fmt::format("row {} is {}, told was {}", n, version, row.told);
    }
    return {};
  }
  int told() const { return told_; }

 private:
  struct Row {
    std::int64_t told = 0, last = 0;
    std::vector<std::int64_t> open;  // asked for, and no success told
  };
  std::map<std::int64_t, Row> rows_;
  int told_ = 0;
};

class StorageFaultTest : public ::testing::Test {
 protected:
  StorageFaultTest() {
    auto file = StateFile::open(fresh_);
    EXPECT_TRUE(file);
    EXPECT_TRUE(file->database.execute(
        "CREATE TABLE kept (n INTEGER PRIMARY KEY, version INTEGER NOT NULL, bytes BLOB NOT NULL,"
        " crc INTEGER NOT NULL)"));
  }
  ~StorageFaultTest() override {
    commits_.reset();
    fs::remove_all(root_);
  }

  void begin() {
    commits_.reset();
    fs::remove_all(data_);
    fs::copy(fresh_, data_, fs::copy_options::recursive);
    ledger_ = {};
    open();
  }
  void open() {
    auto file = StateFile::open(data_);
    ASSERT_TRUE(file) << file.error().message;
    commits_ =
        std::make_unique<GroupCommit>(std::move(*file), WriteOptions{.checkpoint_pages = 20});
  }
  static Result<void> put(Database& database, std::int64_t n, std::int64_t version) {
    auto add = database.prepare(
        "INSERT INTO kept VALUES (?1, ?2, ?3, ?4) ON CONFLICT (n) DO UPDATE SET"
        " version = excluded.version, bytes = excluded.bytes, crc = excluded.crc");
    if (!add) return add.error();
    const std::string bytes = bytes_of(n, version);
    return add->bind(n)
        .bind(version)
        .bind_blob(bytes)
        .bind(RowChecksum().add(n).add(version).add(bytes).value())
        .finish();
  }
  void commit(const std::vector<std::int64_t>& rows, Need need) {
    std::vector<PostedWrite> writes;
    std::vector<std::int64_t> versions;
    for (const std::int64_t n : rows) {
      const std::int64_t version = versions.emplace_back(ledger_.ask(n));
      writes.push_back(
          {.work = [n, version](Database& database) { return put(database, n, version); },
           .done = {},
           .need = need});
    }
    commits_->commit(writes);
    for (std::size_t i = 0; i < rows.size(); ++i)
      ledger_.tell(rows[i], versions[i], writes[i].outcome.ok());
    last_ = writes.back().outcome;
  }
  // New rows, old rows written anew, checkpoints between them.
  void work(std::uint64_t seed) {
    std::mt19937_64 random(seed);
    for (int turn = 0; turn < 14; ++turn) {
      std::vector<std::int64_t> rows(1 + random() % 4);
      for (std::int64_t& n : rows) n = 1 + static_cast<std::int64_t>(random() % 25);
      std::sort(rows.begin(), rows.end());
      rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
      commit(rows, random() % 2 ? Need::Must : Need::May);
      if (turn % 6 == 5) commits_->rest();
    }
  }
  // Empty when the file is whole and holds what it may.
  std::string check() {
    std::string fault;
    std::map<std::int64_t, std::int64_t> found;
    std::vector<PostedWrite> reads(1);
    reads[0].work = [&fault, &found](Database& database) { return read(database, fault, found); };
    reads[0].need = Need::Must;
    commits_->commit(reads);
    if (!reads[0].outcome) return reads[0].outcome.error().message;
    return fault.empty() ? ledger_.compare(found) : fault;
  }
  static Result<void> read(Database& database, std::string& fault,
                           std::map<std::int64_t, std::int64_t>& found) {
    auto whole = database.prepare("PRAGMA integrity_check");
    if (!whole) return whole.error();
    if (auto row = whole->step(); !row) return row.error();
    if (whole->text(0) != "ok") fault = whole->text(0);
    auto rows = database.prepare("SELECT n, version, bytes, crc FROM kept");
    if (!rows) return rows.error();
    while (true) {
      const auto row = rows->step();
      if (!row) return row.error();
      if (!*row) return {};
      const std::int64_t n = rows->number(0), version = rows->number(1);
      found[n] = version;
      if (rows->text(2) != bytes_of(n, version)) fault = fmt::format("row {} is another", n);
      if (RowChecksum().add(n).add(version).add(rows->text(2)).value() != rows->number(3))
        fault = fmt::format("row {} does not match its checksum", n);
    }
  }

  const std::string root_ = make_test_root(), fresh_ = root_ + "/fresh", data_ = root_ + "/data";
  std::unique_ptr<GroupCommit> commits_;
  Ledger ledger_;
  Result<void> last_;
};

// Fails the k-th write or sync, for every k: once, and from there on.
class FailingDiskTest : public StorageFaultTest {
 protected:
  // How many k there were.
  int each(Kind kind, bool lasting, const std::function<void()>& after) {
    for (int k = 1;; ++k) {
      FaultVfs disk;
      disk_ = &disk;
      begin();
      disk.plan({.kind = kind, .at = k, .lasting = lasting});
      work(static_cast<std::uint64_t>(k));
      SCOPED_TRACE(fmt::format("k={}", k));
      if (!disk.fired()) {
        commits_.reset();
        return k;
      }
      after();
      commits_.reset();
      if (HasFailure()) return k;
    }
  }
  // The file goes on: it holds exactly what was told, now, after a restart and after a power cut.
  void expect_exactly_what_was_told() {
    ASSERT_FALSE(commits_->halted()) << commits_->halted()->message;
    disk_->plan({});
    ledger_.close_open();
    EXPECT_EQ(check(), "");
    commit({100}, Need::Must);
    EXPECT_TRUE(last_) << last_.error().message;
    cut_power();
    EXPECT_EQ(check(), "");
    commits_.reset();
    open();
    EXPECT_EQ(check(), "");
  }
  void expect_what_was_told() {
    disk_->plan({});
    cut_power();
    EXPECT_EQ(check(), "");
  }
  void cut_power() {
    disk_->plan({.kind = Kind::PowerCut, .at = 1});
    commit({101}, Need::Must);
    EXPECT_FALSE(last_);
    commits_.reset();
    disk_->power_cut(7);
    open();
  }
  FaultVfs* disk_ = nullptr;
};

TEST_F(FailingDiskTest, KthWriteFails_ItsCommitIsRefusedAndTheFileGoesOn) {
  EXPECT_GT(each(Kind::WriteFails, false,
                 [this] {
                   EXPECT_GE(commits_->counts().reopened, 1U);
                   expect_exactly_what_was_told();
                 }),
            60);
}

TEST_F(FailingDiskTest, KthSyncFails_ItsCommitIsRefusedAndNotThere) {
  EXPECT_GT(each(Kind::SyncFails, false, [this] { expect_exactly_what_was_told(); }), 15);
}

TEST_F(FailingDiskTest, FullAtTheKthWrite_WhatMustBeIsWritten) {
  EXPECT_GT(each(Kind::DiskFull, false, [this] { expect_exactly_what_was_told(); }), 60);
}

TEST_F(FailingDiskTest, FullFromTheKthWriteOn_NothingIsLostAndItGoesOnOnceThereIsRoom) {
  EXPECT_GT(each(Kind::DiskFull, true, [this] { expect_exactly_what_was_told(); }), 60);
}

TEST_F(FailingDiskTest, EveryWriteFailsFromTheKthOn_HaltsRatherThanLies) {
  EXPECT_GT(each(Kind::WriteFails, true,
                 [this] {
                   EXPECT_TRUE(commits_->halted() || !last_);
                   expect_what_was_told();
                 }),
            60);
}

TEST_F(FailingDiskTest, EverySyncFailsFromTheKthOn_HaltsRatherThanLies) {
  EXPECT_GT(each(Kind::SyncFails, true,
                 [this] {
                   EXPECT_TRUE(commits_->halted() || !last_);
                   expect_what_was_told();
                 }),
            15);
}

// Two in a row: a crash at a random moment, and another one while the first one is recovered from.
TEST_F(StorageFaultTest, PowerCutAtAnyMoment_KeepsEverythingThatWasToldAndNothingTorn) {
  int told = 0, died = 0;
  for (std::uint64_t seed = 1; seed <= 1000; ++seed) {
    SCOPED_TRACE(fmt::format("seed={}", seed));
    FaultVfs disk;  // anew, because it keeps account of files that begin() puts others in place of
    std::mt19937_64 random(seed);
    begin();
    for (int cut = 0; cut < 2; ++cut) {
      disk.plan({.kind = Kind::PowerCut, .at = 1 + static_cast<int>(random() % 160)});
      work(random());
      died += disk.fired();
      disk.plan({.kind = Kind::PowerCut, .at = 1});  // also where it has come to the end
      commit({200}, Need::Must);

      commits_.reset();
      disk.power_cut(random());
      open();
      ASSERT_EQ(check(), "");
      disk.plan({});
    }
    told += ledger_.told();
    commits_.reset();
  }
  EXPECT_GT(died, 1000);
  EXPECT_GT(told, 10'000);
}

TEST_F(StorageFaultTest, Counts_AreTheDisksOwn) {
  FaultVfs disk;
  begin();
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    const WriteCounts before = commits_->counts();
    disk.plan({});
    work(seed);
    const WriteCounts after = commits_->counts();
    ASSERT_EQ(after.syncs - before.syncs, static_cast<std::uint64_t>(disk.syncs())) << seed;
    ASSERT_EQ(after.commits - before.commits, 14U) << seed;
  }
  commits_.reset();
}

TEST_F(StorageFaultTest, Log_StaysShortAndIsEmptyAfterARest) {
  begin();
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    work(seed);
    EXPECT_LT(fs::file_size(data_ + "/glowplug.db-wal"), 100U * 4120);
  }
  commit({1}, Need::Must);
  EXPECT_GT(commits_->counts().wal_bytes, 0U);
  commits_->rest();
  EXPECT_EQ(commits_->counts().wal_bytes, 0U);
  EXPECT_EQ(fs::file_size(data_ + "/glowplug.db-wal"), 0U);
}

// What SQLite's own checks pass over.
TEST_F(StorageFaultTest, ByteChangedInAValue_IsFoundByItsChecksum) {
  begin();
  std::int64_t n = 1;
  while (bytes_of(n, 1).size() < 16) ++n;
  commit({n}, Need::Must);
  ASSERT_EQ(check(), "");
  commits_.reset();
  const std::string path = data_ + "/glowplug.db", bytes = bytes_of(n, 1).substr(0, 16);
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  std::string content(std::istreambuf_iterator<char>(file), {});
  const auto at = content.find(bytes);
  ASSERT_NE(at, std::string::npos);
  file.seekp(static_cast<std::streamoff>(at));
  file.put(static_cast<char>(content[at] ^ 1));
  file.close();
  open();  // quick_check finds nothing
  EXPECT_EQ(check(), fmt::format("row {} does not match its checksum", n));
}

TEST_F(StoreTest, DiskThatStaysBroken_HaltsOnceAndRefusesFromThenOn) {
  FaultVfs disk;
  open();
  ASSERT_TRUE(store_->put("a", 1, "{}"));
  disk.plan({.kind = Kind::SyncFails, .lasting = true});
  EXPECT_EQ(store_->put("a", 2, "{}").error().code, "storage_failed");
  ASSERT_TRUE(inbox_.drain_until([this] { return halted_.has_value(); }));
  bool heard = false;
  writer_->post([](Database&) { return Result<void>(); },
                [&heard](const Result<void>& outcome) { heard = !outcome.ok(); });
  EXPECT_TRUE(inbox_.drain_until([&heard] { return heard; }));
  EXPECT_FALSE(store_->put("a", 2, "{}"));
  EXPECT_TRUE(warnings_.empty());  // it was not opened again
  EXPECT_EQ(writer_->counts().refused, 2U);
  close();
}

TEST_F(StoreTest, OpenedAgainAfterAFailure_IsSaidOnce) {
  FaultVfs disk;
  open();
  disk.plan({.kind = Kind::SyncFails});
  EXPECT_EQ(store_->put("a", 1, "{}").error().code, "storage_failed");
  EXPECT_TRUE(store_->put("a", 1, "{}"));
  ASSERT_TRUE(inbox_.drain_until([this] { return !warnings_.empty(); }));
  EXPECT_THAT(warnings_, testing::ElementsAre(testing::HasSubstr("was opened again")));
  EXPECT_EQ(writer_->counts().reopened, 1U);
  close();
}

}  // namespace
}  // namespace glowplug::storage
