// The worker's end of the control channel: JSON lines that tell the server how loading goes. The
// server waits for these lines, so nobody polls a replica's health.
//
// Thread: any; a lock keeps lines whole. A server that is gone is no error here: the lifeline ends
// the worker.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include <sys/types.h>

#include "base/unique_fd.h"

namespace glowplug::worker {

struct ReadyFacts {
  long load_ms = 0;  // from the process's start to serving
  bool chat_template = false;
  bool tools = false;
  std::string pooling;           // none, mean, cls, last or rank
  int context = 0;               // tokens of one slot, after the model's own limit
  std::string sandbox;           // the layers in force, as SandboxReport::words() has them
  std::uint64_t bytes_read = 0;  // from the disk by this process, to load; a fork reads nothing
};

// One line each, with its newline.
[[nodiscard]] std::string loading_line(int percent);
[[nodiscard]] std::string ready_line(const ReadyFacts& facts);
[[nodiscard]] std::string failed_line(std::string_view cause);
[[nodiscard]] std::string forked_line(pid_t pid);  // a forked child's first

class ControlChannel final {
 public:
  explicit ControlChannel(UniqueFd fd) : fd_(std::move(fd)) {}

  void loading(double progress);  // 0 to 1; written when it grew by a whole percent
  void ready(const ReadyFacts& facts);
  void failed(std::string_view cause);

  int fd() const { return fd_.get(); }
  // A template hands its channel to its loop, and each child goes on with one of its own.
  UniqueFd release() { return std::move(fd_); }
  void reopen(UniqueFd fd) { fd_ = std::move(fd); }

 private:
  void write(std::string_view line);

  UniqueFd fd_;
  std::mutex mutex_;
  int last_percent_ = -1;
};

}  // namespace glowplug::worker
