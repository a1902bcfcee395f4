// The one thread that writes the state file, and with it the only connection that does (SQLite
// before 3.51.3 can corrupt a WAL that two connections write). It alone checkpoints.
//
// Group commit: all that was posted while the last commit synced goes into one transaction, at most
// kWritesPerCommit of them; each in a savepoint of its own, so that one that fails takes nothing
// else with it. `done` comes after the fsync, so success means: on the disk.
//
//   post ──▶ waiting (bounded) ──▶ BEGIN, each in a savepoint, COMMIT = fsync ──▶ done, in order
//
// After a commit that failed (an fsync that failed cannot be repeated) the file is closed, opened
// again and checked; nothing of that transaction is there, and each of its writes hears the error.
// Until that has succeeded writes are refused; if it never does, `halted` is called: the server
// ends rather than lie. A full disk is no such failure: the ballast is given up so that what must
// be written (`Need::Must`) still can be, and taken back when there is room again.
//
// Work may run more than once (a full disk, where the ballast makes room): what it sets outside of
// the database it sets anew each time. It begins no transaction of its own.
//
// Thread: post(), run() and ask() from any but this object's own, where work runs; `done` where
// `deliver` takes it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/time_types.h"
#include "storage/sqlite.h"
#include "storage/state_file.h"

namespace glowplug::storage {

inline constexpr std::size_t kWritesPerCommit = 512;
inline constexpr std::size_t kWritesWaitingMax = 16'384;
inline constexpr Duration kWriteWaitMax = std::chrono::seconds(2);  // of the oldest that waits

// May: refused while the disk is full or the loop is too far behind (accepting more work).
// Must: ends of what was accepted. It may use the ballast, and is never refused for a full queue.
enum class Need { May, Must };

// `writes` are on the disk, `failed` ones were tried, `refused` ones not. `commits` are those that
// changed something; `syncs` counts calls of fsync, a checkpoint's too.
struct WriteCounts {
  std::uint64_t writes = 0, commits = 0, syncs = 0, failed = 0, refused = 0, reopened = 0;
  std::uint64_t wal_bytes = 0;
  bool disk_full = false;
};

struct WriteOptions {
  std::uint64_t ballast_bytes = 0;  // kept back for Need::Must (storage/ballast.h); 0: none
  // Of 4 KiB, in the log since the last checkpoint. Nobody is answered while they are copied: a few
  // keep that short.
  int checkpoint_pages = 1'000;
  Duration idle = std::chrono::seconds(1);       // without a write, before the log is emptied
  Duration busy_wait = std::chrono::seconds(2);  // for a foreign program that holds the file
  const Clock* clock = nullptr;                  // null: nobody is refused for how long others wait
};

class WriteLoop final {
 public:
  using Work = std::function<Result<void>(Database&)>;
  using Done = std::function<void(const Result<void>&)>;

  struct Parts {
    StateFile file;
    // Runs these on the thread that wants to hear of its writes: all of one commit in one go.
    std::function<void(std::vector<std::function<void()>>)> deliver;
    std::function<void(const Error&)> halted;  // on this object's thread, at most once
    // On this object's thread, what an operator should know: that the disk is full, that it is so
    // no more, that the file was opened again.
    std::function<void(const std::string&)> warn = {};
    WriteOptions options = {};
  };
  explicit WriteLoop(Parts parts);
  ~WriteLoop();  // what was posted is written first

  void post(Work work, Done done, Need need = Need::May);
  // The same, waited for: for what is rare (a deploy) and may keep its caller that long.
  Result<void> run(Work work, Need need = Need::Must);
  // The same for what has a value: `work` is Result<Value>(Database&).
  template <typename Ask>
  std::invoke_result_t<Ask, Database&> ask(Ask work) {
    std::optional<std::invoke_result_t<Ask, Database&>> answer;
    const Result<void> ran = run([&answer, &work](Database& database) -> Result<void> {
      answer.emplace(work(database));
      if (!answer->ok()) return answer->error();
      return {};
    });
    if (!ran) return ran.error();
    return *std::move(answer);
  }

  WriteCounts counts() const;
  const std::string& path() const;  // of the file, for readers

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace glowplug::storage
