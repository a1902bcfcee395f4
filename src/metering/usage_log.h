// Where calls that are waited for are accounted at once, without an fsync: their intent before they
// run and their receipt when they end are appended, one write() each, to a file in the data folder,
// which outlives a kill -9 of the server. From there they are folded into the table `usage`.
//
//   begin, close ──▶ segment ──▶ (rows, how far) in one transaction ──▶ segment removed
//                       └─ while the database cannot be written the segments stay and grow
//
// A segment goes once it is not the one being written, all of it is folded, and each call that it
// tells the beginning of has ended. At the next start what an earlier server has left is folded
// first; a call that never ended becomes a row `lost`, which costs nobody anything. Rows are
// inserted by request id, so that folding a record twice changes nothing.
//
// A record that cannot be written (a full disk) waits in memory for the next one; beyond
// kUnwrittenMax they are dropped, which is counted and said.
//
// Thread: the server loop; folding reads its file where the database is written.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "metering/usage_record.h"
#include "storage/sqlite.h"

namespace glowplug::metering {

inline constexpr std::size_t kSegmentBytesMax = 1 << 20;  // then the next one is begun
inline constexpr std::size_t kFoldBytes = 256 << 10;      // of one transaction
inline constexpr std::size_t kUnwrittenMax = 4'096;       // records

struct UsageLogCounts {
  std::uint64_t bytes = 0;  // of all segments: what is not folded yet, and a little more
  std::size_t open = 0;     // calls
  std::uint64_t damaged = 0, dropped = 0;             // records
  std::uint64_t failed_writes = 0, failed_folds = 0;  // tries; what they were for is tried again
};

class UsageLog final {
 public:
  using Work = std::function<Result<void>(storage::Database&)>;
  struct Parts {
    std::string folder;
    // Does it in one transaction; `done` comes later, on the server loop. As storage::WriteLoop.
    std::function<void(Work work, std::function<void(const Result<void>&)> done)> write;
    std::function<void()> wants_fold = [] {};  // call fold() soon; until then it is not said again
  };
  // Makes the folder. What is there already waits for recover().
  static Result<std::unique_ptr<UsageLog>> open(Parts parts);
  ~UsageLog();

  // What an earlier server has left; `run` does a work in one transaction and waits for it. On an
  // error what is left stays, and is tried again before anything is folded.
  Result<void> recover(const std::function<Result<void>(Work)>& run);

  void begin(const Intent& intent);
  void close(const storage::UsageRow& row);  // of what began here, or elsewhere

  // One step; another follows by itself while there is more.
  void fold();
  // Once all that was closed until now is folded, or cannot be.
  void when_folded(std::function<void(const Result<void>&)> done);

  UsageLogCounts counts() const;

 private:
  struct Segment {
    std::string name;
    std::uint64_t bytes = 0, folded = 0;
    std::size_t open = 0;  // calls that began in it
  };
  struct Record {
    std::string line, request;
    bool is_close = false;
  };
  struct Awaited {
    std::uint64_t until = 0;  // bytes, since the start
    std::function<void(const Result<void>&)> done;
  };

  explicit UsageLog(Parts parts) : parts_(std::move(parts)) {}
  std::string path_of(const std::string& segment) const { return parts_.folder + "/" + segment; }
  void append(Record record);
  bool write_out(const Record& record);
  bool begin_segment();
  void note(const Record& record);
  void fold_segment(const Segment& segment);
  void after_fold(std::uint64_t offset, std::uint64_t limit, const Result<void>& outcome);
  void remove_done();
  void go_on();
  void tell_awaited(const Result<void>& outcome);
  Work recovery() const;
  void after_recovery();

  Parts parts_;
  std::vector<std::string> left_;  // segments of an earlier server, the oldest first
  std::deque<Segment> segments_;   // the last one is written
  std::uint64_t next_number_ = 1;
  UniqueFd fd_;
  bool torn_ = false;  // its last line was cut off
  std::deque<Record> unwritten_;
  std::unordered_map<std::string, std::string> open_;  // call → segment that it began in
  std::deque<Awaited> awaited_;
  bool busy_ = false;    // something of ours is being written to the database
  bool wanted_ = false;  // wants_fold was said
  std::uint64_t written_ = 0, folded_ = 0, last_close_ = 0;  // bytes since the start
  UsageLogCounts counts_;
};

}  // namespace glowplug::metering
