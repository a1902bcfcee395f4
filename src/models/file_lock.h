// A lock between the servers of one machine: an flock on a file that is there while it is held.
//
// The kernel releases it when its holder ends, however that happens, so no lock goes stale. The
// file's content means nothing. It is removed by the holder, and therefore whoever got the lock on
// a file that no longer has its name looks again.
//
// Thread: values, one owner each; two threads of one process exclude each other as well.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace glowplug::models {

class FileLock final {
 public:
  // Empty when somebody else holds it. The error is storage_failed.
  static Result<std::optional<FileLock>> try_take(const std::string& path);

  // Waits as long as it takes: only for what is held for moments.
  static Result<FileLock> take(const std::string& path);

  FileLock(FileLock&&) noexcept = default;
  FileLock& operator=(FileLock&&) = delete;
  ~FileLock();

 private:
  FileLock(std::string path, UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}

  std::string path_;
  UniqueFd fd_;
};

}  // namespace glowplug::models
