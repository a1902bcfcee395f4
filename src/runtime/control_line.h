// One line of the control channel, on which a worker tells the server how its load goes.
//
//   {"state":"loading","progress":0.4}   {"state":"ready"}   {"state":"failed","cause":"…"}
//   {"state":"forked","pid":123}    first, of a replica that a template has forked
//   {"state":"kept","count":2}      so many files of the oldest order to keep hold a prompt state;
//                                   "shared":[{"copy":0,"tokens":600,"prompts":3}]: in the first
//                                   one's slot three prompts began with its first 600 tokens
//   {"state":"wants","id":7}        this prompt state, of those that it was told of
//   {"state":"overwriting"}         an order to keep, please: a prompt state is about to be lost
//
// Fields that are not listed are ignored, so that a newer worker may say more; a line that breaks
// the rules is an Error, after which the worker is not trusted further.
//
// Thread: pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <sys/types.h>

#include "base/result.h"

namespace glowplug::runtime {

inline constexpr std::size_t kControlLineBytesMax = 4096;

struct WorkerLoading {
  double progress = 0;
};  // 0..1
struct WorkerReady {
  std::string sandbox;  // the layers in force, in words; empty when it does not say
  std::optional<std::uint64_t> bytes_read;  // from the disk, to load; nothing when it does not say
};
struct WorkerFailed {
  std::string cause;
};
struct WorkerForked {
  pid_t pid = 0;
};
struct WorkerKept {
  struct Shared {
    std::size_t copy = 0;
    std::size_t tokens = 0, prompts = 0;
  };
  std::size_t count = 0;
  std::vector<Shared> shared = {};
};
struct WorkerWants {
  std::uint64_t id = 0;
};
struct WorkerOverwriting {};
using ControlMessage = std::variant<WorkerLoading, WorkerReady, WorkerFailed, WorkerForked,
                                    WorkerKept, WorkerWants, WorkerOverwriting>;

Result<ControlMessage> parse_control_line(std::string_view line);

}  // namespace glowplug::runtime
