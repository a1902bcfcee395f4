// One transaction for many writes, and what to do where it fails: WriteLoop without its thread.
//
//   commit ──▶ attempt ──▶ written
//                 │ full     the ballast is given up; what must be written is tried again
//                 │ busy     refused; another program holds the file
//                 └ broken   rolled back, the log emptied, closed, opened again, checked; or halted
//
// Why the log is emptied first: the pages of a commit whose fsync has failed stand whole behind its
// end, and an open without a checkpoint before it would take them for a commit.
//
// Thread: one owner.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "base/time_types.h"
#include "storage/ballast.h"
#include "storage/state_file.h"
#include "storage/write_loop.h"

namespace glowplug::storage {

struct PostedWrite {
  WriteLoop::Work work;
  WriteLoop::Done done;
  Need need = Need::May;
  Time posted_at{};
  bool waited_for = false;  // `done` is called on the writer's thread
  Result<void> outcome = {};
};

class GroupCommit final {
 public:
  GroupCommit(StateFile file, const WriteOptions& options);

  void commit(std::span<PostedWrite> writes);  // sets each one's outcome
  void rest();  // nothing to do: empties the log, takes the ballast back

  const std::optional<Error>& halted() const { return halted_; }  // nothing is written any more
  WriteCounts counts() const;                                     // all but `refused`
  const std::string& path() const { return file_.path; }

 private:
  using List = std::vector<PostedWrite*>;

  Fault attempt(const List& writes);
  Result<void> write_all(const List& writes);
  Result<void> write_one(PostedWrite& write);
  Result<void> step(std::string_view sql);
  void commit_on_full_disk(const List& writes);
  void look_for_room();
  void checkpoint_when_due();
  Result<void> checkpoint(Database::Checkpoint how);
  void recover();

  StateFile file_;
  Ballast ballast_;
  const int checkpoint_pages_;
  const Duration busy_wait_;
  int copied_pages_ = 0;  // of the log, into the file
  std::optional<Error> halted_;
  WriteCounts counts_;
};

}  // namespace glowplug::storage
