// Records what the brain of a server is told and decides (control/decision_log.h), a file for each
// run of the server: folder/2026-11-28T05-50-36.123Z.log.
//
//   loop: turn() ─▶ lines in memory ─▶ thread: write()
//
// A log replays from its beginning alone, so that a file is never cut at its front. Half of
// bytes_max is for this run, and its log ends when it has that; the other half keeps the files of
// earlier runs, of which the oldest go first. It ends early too when the disk fails, is full, or is
// slower than turns come: the log says why on its last line where it still can, the server's log
// says it once, and serving goes on.
//
// What was told kGather ago is in the file, and a kill -9 leaves it there. Nothing is synced.
//
// Thread: the server loop, which never waits for the disk; a second one writes.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "base/result.h"
#include "base/time_types.h"
#include "base/unique_fd.h"
#include "control/decision_log.h"

namespace glowplug::app {

inline constexpr std::size_t kDecisionFilesMax = 100;  // logs of earlier runs, and this one
inline constexpr std::size_t kDecisionBytesPendingMax = 16 * 1024 * 1024;  // not on the disk yet

class DecisionRecorder final {
 public:
  struct Options {
    std::string folder;           // made where it is not there
    std::uint64_t bytes_max = 0;  // of all files in it
    WallTime now{};               // names the file
    std::string build;
    std::size_t pending_bytes_max = kDecisionBytesPendingMax;  // not written yet
    std::function<ssize_t(int fd, const char* data, std::size_t size)> write = ::write;
  };
  static Result<std::unique_ptr<DecisionRecorder>> open(Options options,
                                                        const control::BrainOptions& brain);
  ~DecisionRecorder();  // ends the log, and waits until it is written
  DecisionRecorder(const DecisionRecorder&) = delete;
  DecisionRecorder& operator=(const DecisionRecorder&) = delete;

  void turn(const control::Event& event, Time now, WallTime wall, const control::Effects& effects,
            const control::Brain& brain);
  const std::string& path() const { return path_; }
  bool ended() const { return ended_; }  // nothing is recorded any more

 private:
  DecisionRecorder(Options options, std::string path, UniqueFd file,
                   const control::BrainOptions& brain);
  void put(std::string_view lines);
  void end(std::string_view why);
  void tell(std::string_view why) const;
  void run();
  void write_all(const std::string& lines);
  void give_up(int error);

  const Options options_;
  const std::string path_;
  control::DecisionLog log_;
  std::uint64_t bytes_ = 0;  // of the file, with what is pending
  bool ended_ = false;

  std::mutex mutex_;  // of the next four; never held while the disk is waited for
  std::condition_variable wake_;
  std::string pending_;
  bool closing_ = false, broken_ = false;

  UniqueFd file_;              // of the thread
  std::uint64_t written_ = 0;  // the same: bytes of whole lines
  std::thread thread_;         // last: it uses all of the others
};

}  // namespace glowplug::app
