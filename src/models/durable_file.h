// Files that appear whole or not at all: written under a name ending in .tmp, synced, then moved
// into place and the folder synced. What is not published is removed, by the destructor or, after a
// crash, by whoever opens the folder next (remove_leftovers).
//
// Thread: one owner per file; the functions from any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"
#include "base/unique_fd.h"

namespace glowplug::models {

// disk_full or storage_failed: what could not be done, and errno in words.
Error file_error(std::string_view what, int number);

Result<void> make_private_folder(const std::string& path);  // mode 0700, parents too
Result<void> sync_folder(const std::string& path);
void remove_leftovers(const std::string& folder);  // every *.tmp in it

// All bytes at their place or an error; never past the end of the file.
Result<void> read_exactly(int fd, std::span<std::uint8_t> out, std::uint64_t offset);

// All of it where the descriptor stands; `what` could not be done otherwise.
Result<void> write_exactly(int fd, std::span<const std::uint8_t> bytes, std::string_view what);

enum class IfThere { Replace, Fail };

class DurableFile final {
 public:
  // `path` is the final name; its folder exists. Mode 0600.
  static Result<DurableFile> start(const std::string& path);

  DurableFile(DurableFile&& other) noexcept;
  DurableFile& operator=(DurableFile&&) = delete;
  ~DurableFile();

  int fd() const { return fd_.get(); }
  // Another final name, in the same folder: for one that its bytes decide.
  void rename_to(std::string path) { path_ = std::move(path); }
  Result<void> append(std::span<const std::uint8_t> bytes);
  // With IfThere::Fail the Result is false when the name was taken; the file is then removed.
  Result<bool> publish(IfThere if_there);

 private:
  DurableFile(std::string path, std::string temporary, UniqueFd fd)
      : path_(std::move(path)), temporary_(std::move(temporary)), fd_(std::move(fd)) {}

  std::string path_;
  std::string temporary_;  // empty once there is nothing to remove
  UniqueFd fd_;
};

}  // namespace glowplug::models
