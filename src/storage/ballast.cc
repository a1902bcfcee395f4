#include "storage/ballast.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <unistd.h>
#include <utility>

#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/unique_fd.h"

namespace glowplug::storage {
namespace {

constexpr std::uint64_t kShareOfDisk = 16;
constexpr std::uint64_t kBlockBytes = 512;     // of st_blocks
constexpr std::uint64_t kRoomMin = 64U << 10;  // besides it: a few commits

}  // namespace

Ballast::Ballast(std::string path, std::uint64_t bytes) : path_(std::move(path)), bytes_(bytes) {}

bool Ballast::take() {
  const std::string folder = path_.substr(0, path_.rfind('/') + 1);
  struct statvfs disk {};
  if (::statvfs(folder.c_str(), &disk) != 0) return false;
  const std::uint64_t unit = disk.f_frsize;
  const std::uint64_t bytes = std::min(bytes_, disk.f_blocks * unit / kShareOfDisk);
  struct stat file {};
  if (bytes > 0 && ::stat(path_.c_str(), &file) == 0 &&
      static_cast<std::uint64_t>(file.st_blocks) * kBlockBytes >= bytes)
    return true;
  if (disk.f_bavail * unit < bytes + std::max(bytes, kRoomMin)) return false;
  if (bytes == 0) return true;
  const UniqueFd fd(::open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (fd.valid() && ::fallocate(fd.get(), 0, 0, static_cast<off_t>(bytes)) == 0) return true;
  if (errno == EOPNOTSUPP) return true;  // no file system for it, but there is room
  give_up();
  return false;
}

void Ballast::give_up() { ::unlink(path_.c_str()); }

}  // namespace glowplug::storage
