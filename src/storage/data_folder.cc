#include "storage/data_folder.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <system_error>
#include <unistd.h>
#include <utility>

#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "domain/errors.h"

namespace glowplug::storage {
namespace {

Error unusable(const std::string& data_dir, const std::string& why) {
  return Error{std::string(domain::error::kStorageFailed),
               fmt::format("the data folder '{}' cannot be used: {}; make it writable for this "
                           "user or choose another "
                           "with --data-dir",
                           data_dir, why),
               {}};
}

std::string read_owner(int fd) {
  char bytes[32];
  const ssize_t size = ::pread(fd, bytes, sizeof(bytes), 0);
  std::string owner(bytes, size > 0 ? static_cast<std::size_t>(size) : 0);
  owner.resize(std::min(owner.find_first_not_of("0123456789"), owner.size()));
  return owner.empty() ? "unknown" : owner;
}

}  // namespace

Result<UniqueFd> lock_data_folder(const std::string& data_dir) {
  std::error_code code;
  const bool made = std::filesystem::create_directories(data_dir, code);
  if (code) return unusable(data_dir, code.message());
  if (made && ::chmod(data_dir.c_str(), 0700) != 0)
    return unusable(data_dir, std::generic_category().message(errno));
  UniqueFd fd(
      ::open((data_dir + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.valid()) return unusable(data_dir, std::generic_category().message(errno));
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return unusable(data_dir, std::generic_category().message(errno));
    return Error{
        std::string(domain::error::kStorageFailed),
        fmt::format(
            "the data folder '{}' is in use by another server (pid {}); stop that one or choose "
            "another folder with --data-dir",
            data_dir, read_owner(fd.get())),
        {}};
  }
  const std::string owner = fmt::format("{}\n", ::getpid());
  if (::ftruncate(fd.get(), 0) != 0 || ::pwrite(fd.get(), owner.data(), owner.size(), 0) < 0)
    return unusable(data_dir, std::generic_category().message(errno));
  return fd;
}

}  // namespace glowplug::storage
