#include "models/durable_file.h"

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <unistd.h>

#include <fmt/format.h>
#include <sys/stat.h>

#include "domain/errors.h"
#include "models/aead.h"

namespace glowplug::models {
namespace {

namespace fs = std::filesystem;

std::string folder_of(const std::string& path) { return fs::path(path).parent_path().string(); }

}  // namespace

Error file_error(std::string_view what, int number) {
  const bool full = number == ENOSPC || number == EDQUOT || number == EFBIG;
  return {std::string(full ? domain::error::kDiskFull : domain::error::kStorageFailed),
          fmt::format("{}: {}", what, std::strerror(number)),
          {}};
}

Result<void> make_private_folder(const std::string& path) {
  std::error_code code;
  const bool made = fs::create_directories(path, code);
  if (code) return file_error("cannot make the folder " + path, code.value());
  if (made && ::chmod(path.c_str(), 0700) != 0)
    return file_error("cannot make private the folder " + path, errno);
  return {};
}

Result<void> sync_folder(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() || ::fsync(fd.get()) != 0)
    return file_error("cannot sync the folder " + path, errno);
  return {};
}

void remove_leftovers(const std::string& folder) {
  std::error_code error;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, error))
    if (entry.path().extension() == ".tmp") fs::remove(entry.path(), ignored);
}

Result<void> read_exactly(int fd, std::span<std::uint8_t> out, std::uint64_t offset) {
  std::size_t done = 0;
  while (done < out.size()) {
    const ssize_t n =
        ::pread(fd, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return file_error("cannot read a prompt state", errno);
    if (n == 0) return file_error("a prompt state ends too early", EIO);
    done += static_cast<std::size_t>(n);
  }
  return {};
}

Result<void> write_exactly(int fd, std::span<const std::uint8_t> bytes, std::string_view what) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return file_error(what, errno);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

Result<DurableFile> DurableFile::start(const std::string& path) {
  std::array<std::uint8_t, 8> random;
  fill_random(random);
  std::string temporary = path + ".";
  for (const std::uint8_t byte : random) temporary += fmt::format("{:02x}", byte);
  temporary += ".tmp";
  UniqueFd fd(
      ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd.valid()) return file_error("cannot write " + temporary, errno);
  return DurableFile(path, std::move(temporary), std::move(fd));
}

DurableFile::DurableFile(DurableFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::exchange(other.temporary_, {})),
      fd_(std::move(other.fd_)) {}

DurableFile::~DurableFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

Result<void> DurableFile::append(std::span<const std::uint8_t> bytes) {
  return write_exactly(fd_.get(), bytes, "cannot write " + path_);
}

Result<bool> DurableFile::publish(IfThere if_there) {
  if (::fsync(fd_.get()) != 0) return file_error("cannot sync " + path_, errno);
  if (if_there == IfThere::Replace) {
    if (::rename(temporary_.c_str(), path_.c_str()) != 0)
      return file_error("cannot move into place " + path_, errno);
    temporary_.clear();
  } else if (::link(temporary_.c_str(), path_.c_str()) != 0) {
    if (errno == EEXIST) return false;
    return file_error("cannot move into place " + path_, errno);
  }
  if (auto synced = sync_folder(folder_of(path_)); !synced) {
    ::unlink(path_.c_str());
    return synced.error();
  }
  return true;
}

}  // namespace glowplug::models
