#include "storage/group_commit.h"

#include <string_view>
#include <utility>

#include "domain/errors.h"

namespace glowplug::storage {
namespace {

constexpr std::uint64_t kLogHeaderBytes = 32, kLogPageBytes = 4096 + 24;
constexpr int kEmptyingTries = 3;  // each waits for readers

}  // namespace

GroupCommit::GroupCommit(StateFile file, const WriteOptions& options)
    : file_(std::move(file)),
      ballast_(file_.path + ".ballast", options.ballast_bytes),
      checkpoint_pages_(options.checkpoint_pages),
      busy_wait_(options.busy_wait) {
  file_.database.set_busy_wait(busy_wait_);
  // What a killed server has left in its log. If it cannot be copied now it stays there.
  static_cast<void>(checkpoint(Database::Checkpoint::Truncate));
  ballast_.take();
}

WriteCounts GroupCommit::counts() const {
  WriteCounts counts = counts_;
  const int pages = file_.database.log_pages();
  if (pages > 0)
    counts.wal_bytes = kLogHeaderBytes + static_cast<std::uint64_t>(pages) * kLogPageBytes;
  return counts;
}

void GroupCommit::commit(std::span<PostedWrite> writes) {
  if (counts_.disk_full) look_for_room();
  List list;
  for (PostedWrite& write : writes) {
    if (halted_)
      write.outcome = *halted_;
    else if (counts_.disk_full && write.need == Need::May)
      write.outcome = no_room(file_.path);
    else
      list.push_back(&write);
  }
  const Fault fault = list.empty() ? Fault::None : attempt(list);
  if (fault == Fault::Full) commit_on_full_disk(list);
  if (fault == Fault::Broken) recover();
  if (!halted_) checkpoint_when_due();
  for (const PostedWrite& write : writes) ++(write.outcome ? counts_.writes : counts_.failed);
}

// None: committed. Else nothing of it is there, and each has the error.
Fault GroupCommit::attempt(const List& writes) {
  Database& database = file_.database;
  const std::uint64_t commits_before = database.log_commits();
  const int pages_before = database.log_pages();
  database.clear_fault();
  const Result<void> written = write_all(writes);
  if (written) {
    if (database.log_commits() == commits_before) return Fault::None;  // nothing was changed
    // A log that begins anew has its header synced besides.
    const bool anew = database.log_pages() <= pages_before || pages_before == 0;
    if (anew) copied_pages_ = 0;
    ++counts_.commits;
    counts_.syncs += anew ? 2 : 1;
    return Fault::None;
  }
  const Fault fault = database.fault();
  // Where this fails SQLite has rolled back already, or recover() closes the connection.
  if (database.in_transaction()) static_cast<void>(step("ROLLBACK"));
  for (PostedWrite* write : writes) write->outcome = written.error();
  return fault == Fault::None || database.in_transaction() ? Fault::Broken : fault;
}

Result<void> GroupCommit::write_all(const List& writes) {
  if (auto begun = step("BEGIN IMMEDIATE"); !begun) return begun;
  for (PostedWrite* write : writes)
    if (auto lost = write_one(*write); !lost) return lost;
  return step("COMMIT");
}

// An error where the transaction is lost with it; one of the work's own is its outcome alone.
Result<void> GroupCommit::write_one(PostedWrite& write) {
  if (auto begun = step("SAVEPOINT one"); !begun) return begun;
  write.outcome = write.work(file_.database);
  if (file_.database.fault() != Fault::None || !file_.database.in_transaction())
    return write.outcome ? Error{std::string(domain::error::kStorageFailed),
                                 "a write has ended its transaction",
                                 {}}
                         : write.outcome.error();
  if (!write.outcome)
    if (auto undone = step("ROLLBACK TO one"); !undone) return undone;
  return step("RELEASE one");
}

Result<void> GroupCommit::step(std::string_view sql) {
  Result<Statement> statement = file_.database.prepare(sql);
  if (!statement) return statement.error();
  return statement->finish();
}

// The ballast makes room, and so does emptying the log, which may have grown by what is not there.
// What may be refused is; of the rest one that is too large must not take the others with it.
void GroupCommit::commit_on_full_disk(const List& writes) {
  counts_.disk_full = true;
  ballast_.give_up();
  static_cast<void>(checkpoint(Database::Checkpoint::Truncate));
  List must;
  for (PostedWrite* write : writes)
    if (write->need == Need::Must) must.push_back(write);
  if (must.empty()) return;
  Fault fault = attempt(must);
  if (fault == Fault::Full && must.size() > 1) {
    for (PostedWrite* one : must) {
      fault = attempt({one});
      if (fault == Fault::Broken) break;  // those behind it have the error of the attempt before
    }
  }
  if (fault == Fault::Broken) recover();
}

void GroupCommit::look_for_room() {
  if (ballast_.take()) counts_.disk_full = false;
}

void GroupCommit::rest() {
  if (halted_) return;
  file_.database.clear_fault();
  if (file_.database.log_pages() > 0 || counts_.disk_full)
    static_cast<void>(checkpoint(Database::Checkpoint::Truncate));
  if (counts_.disk_full) look_for_room();
  if (file_.database.fault() == Fault::Broken) recover();
}

void GroupCommit::checkpoint_when_due() {
  if (file_.database.log_pages() - copied_pages_ < checkpoint_pages_) return;
  file_.database.clear_fault();
  if (checkpoint(Database::Checkpoint::Passive)) return;
  if (file_.database.fault() == Fault::Full) {  // the file itself could not grow
    counts_.disk_full = true;
    ballast_.give_up();
  }
  if (file_.database.fault() == Fault::Broken) recover();
}

Result<void> GroupCommit::checkpoint(Database::Checkpoint how) {
  const int pages = file_.database.log_pages();
  const auto frames = file_.database.checkpoint(how);
  if (!frames) return frames.error();
  const bool emptied = how != Database::Checkpoint::Passive;
  const int copied = emptied ? pages : frames->copied;
  // The log before its pages are copied, the file once all of them are.
  if (copied > copied_pages_) counts_.syncs += copied == pages ? 2 : 1;
  copied_pages_ = emptied ? 0 : copied;
  return {};
}

void GroupCommit::recover() {
  file_.database.clear_fault();
  Result<void> emptied = checkpoint(Database::Checkpoint::TruncateWaiting);
  for (int tries = 1; !emptied && tries < kEmptyingTries; ++tries) {
    if (file_.database.fault() == Fault::Full) {
      counts_.disk_full = true;
      ballast_.give_up();
    }
    emptied = checkpoint(Database::Checkpoint::TruncateWaiting);
  }
  const Result<void> reopened = emptied ? file_.reopen() : emptied;
  if (reopened) {
    file_.database.set_busy_wait(busy_wait_);
    copied_pages_ = 0;
    ++counts_.reopened;
    return;
  }
  file_.database = Database();
  halted_ = reopened.error();
}

}  // namespace glowplug::storage
