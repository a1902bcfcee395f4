#include "models/file_lock.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "domain/errors.h"

namespace glowplug::models {
namespace {

Error cannot_lock(const std::string& path, int number) {
  return {std::string(domain::error::kStorageFailed),
          fmt::format("cannot lock {}: {}; the cache folder must be writable and know flock", path,
                      std::strerror(number)),
          "model"};
}

bool still_has_its_name(int fd, const std::string& path) {
  struct stat held {};
  struct stat named {};
  return ::fstat(fd, &held) == 0 && ::stat(path.c_str(), &named) == 0 &&
         held.st_ino == named.st_ino && held.st_dev == named.st_dev;
}

// A locked descriptor, or an invalid one when `operation` does not wait and the lock is taken.
Result<UniqueFd> lock(const std::string& path, int operation) {
  while (true) {
    // Close-on-exec, or a replica started meanwhile would hold the lock beyond its holder's end.
    UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!fd.valid()) return cannot_lock(path, errno);
    int failed = 0;
    do failed = ::flock(fd.get(), operation);
    while (failed != 0 && errno == EINTR);
    if (failed != 0 && errno == EWOULDBLOCK) return UniqueFd();
    if (failed != 0) return cannot_lock(path, errno);
    if (still_has_its_name(fd.get(), path)) return fd;
  }
}

}  // namespace

Result<std::optional<FileLock>> FileLock::try_take(const std::string& path) {
  auto fd = lock(path, LOCK_EX | LOCK_NB);
  if (!fd) return fd.error();
  if (!fd->valid()) return std::optional<FileLock>();
  return std::optional<FileLock>(FileLock(path, std::move(*fd)));
}

Result<FileLock> FileLock::take(const std::string& path) {
  auto fd = lock(path, LOCK_EX);
  if (!fd) return fd.error();
  return FileLock(path, std::move(*fd));
}

FileLock::~FileLock() {
  if (fd_.valid()) ::unlink(path_.c_str());  // while it is held, so that no other's file is removed
}

}  // namespace glowplug::models
