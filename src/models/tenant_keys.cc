#include "models/tenant_keys.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <string_view>
#include <unistd.h>

#include <fmt/format.h>
#include <sys/stat.h>

#include "base/unique_fd.h"
#include "domain/errors.h"
#include "models/durable_file.h"
#include "models/file_lock.h"
#include "models/sha256.h"

namespace glowplug::models {
namespace {

// A key file: magic, nonce, the sealed key, its tag.
constexpr std::string_view kMagic = "GLOWKEY1";
constexpr std::size_t kNonceAt = kMagic.size();
constexpr std::size_t kKeyAt = kNonceAt + AeadNonce().size();
constexpr std::size_t kTagAt = kKeyAt + SecretKey::kBytes;
// Another is needed only when the tenant is forgotten between two steps.
constexpr int kMakeTries = 16;
using KeyFile = std::array<std::uint8_t, kTagAt + kTagBytes>;

Error bad_master(const std::string& path, std::string_view fault, std::string_view fix) {
  return {std::string(domain::error::kStorageFailed),
          fmt::format("the master key file {} {}; {}", path, fault, fix),
          {}};
}

Result<SecretKey> read_master(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!fd.valid()) return file_error("cannot open the master key file " + path, errno);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0)
    return file_error("cannot look at the master key file " + path, errno);
  if (!S_ISREG(status.st_mode))
    return bad_master(path, "is no plain file", "put the key there, or name another file");
  if ((status.st_mode & 07777) != 0600)
    return bad_master(path, fmt::format("has mode {:04o}, not 0600", status.st_mode & 07777),
                      fmt::format("run: chmod 600 {}", path));
  if (status.st_size != static_cast<off_t>(SecretKey::kBytes))
    return bad_master(
        path, fmt::format("holds {} bytes, not {}", status.st_size, SecretKey::kBytes),
        "put the right one back, or remove it and every kept prompt state is forgotten");
  SecretKey key;
  if (auto read = read_exactly(fd.get(), key.bytes(), 0); !read) return read.error();
  return key;
}

Result<void> make_master(const std::string& path) {
  auto file = DurableFile::start(path);
  if (!file) return file.error();
  if (auto written = file->append(SecretKey::random().bytes()); !written) return written.error();
  const auto published = file->publish(IfThere::Fail);
  if (!published) return published.error();
  return {};
}

std::string bound_to(const std::string& tenant) { return std::string(kMagic) + tenant; }

KeyFile wrap(const SecretKey& master, const std::string& tenant, const SecretKey& key) {
  KeyFile file;
  std::copy(kMagic.begin(), kMagic.end(), file.begin());
  AeadNonce nonce;
  fill_random(nonce);
  std::copy(nonce.begin(), nonce.end(), file.begin() + kNonceAt);
  const auto sealed = std::span(file).subspan(kKeyAt, SecretKey::kBytes);
  std::copy(key.bytes().begin(), key.bytes().end(), sealed.begin());
  AeadStream stream(AeadUse::Seal, master, nonce);
  stream.add_context(bound_to(tenant));
  stream.apply(sealed);
  const AeadTag tag = stream.tag();
  std::copy(tag.begin(), tag.end(), file.begin() + kTagAt);
  return file;
}

std::optional<SecretKey> unwrap(const SecretKey& master, const std::string& tenant,
                                const KeyFile& file) {
  if (!std::equal(kMagic.begin(), kMagic.end(), file.begin())) return std::nullopt;
  AeadNonce nonce;
  std::copy_n(file.begin() + kNonceAt, nonce.size(), nonce.begin());
  SecretKey key;
  std::copy_n(file.begin() + kKeyAt, SecretKey::kBytes, key.bytes().begin());
  AeadTag tag;
  std::copy_n(file.begin() + kTagAt, tag.size(), tag.begin());
  AeadStream stream(AeadUse::Open, master, nonce);
  stream.add_context(bound_to(tenant));
  stream.apply(key.bytes());
  if (!stream.authentic(tag)) return std::nullopt;
  return key;
}

}  // namespace

Result<std::unique_ptr<TenantKeys>> TenantKeys::open(const std::string& folder,
                                                     const std::string& master_key_file) {
  if (auto made = make_private_folder(folder); !made) return made.error();
  remove_leftovers(folder);
  struct stat status {};
  if (::lstat(master_key_file.c_str(), &status) != 0 && errno == ENOENT)
    if (auto made = make_master(master_key_file); !made) return made.error();
  auto master = read_master(master_key_file);
  if (!master) return master.error();
  return std::unique_ptr<TenantKeys>(new TenantKeys(folder, *master));
}

std::string TenantKeys::path_of(const std::string& tenant) const {
  return fmt::format("{}/{}.key", folder_, sha256_hex(tenant).substr(0, 32));
}

Result<std::optional<SecretKey>> TenantKeys::read(const std::string& tenant) const {
  const std::string path = path_of(tenant);
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!fd.valid() && errno == ENOENT) return std::optional<SecretKey>();
  if (!fd.valid()) return file_error("cannot open the key file " + path, errno);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return file_error("cannot look at " + path, errno);
  KeyFile file;
  if (!S_ISREG(status.st_mode) || status.st_size != static_cast<off_t>(file.size()))
    return std::optional<SecretKey>();
  if (auto got = read_exactly(fd.get(), file, 0); !got) return got.error();
  return unwrap(master_, tenant, file);
}

Result<void> TenantKeys::make(const std::string& tenant) const {
  const std::string path = path_of(tenant);
  const auto lock = FileLock::take(path + ".lock");
  if (!lock) return lock.error();
  const auto there = read(tenant);
  if (!there) return there.error();
  if (*there) return {};  // another thread was first
  auto file = DurableFile::start(path);
  if (!file) return file.error();
  if (auto written = file->append(wrap(master_, tenant, SecretKey::random())); !written)
    return written.error();
  const auto published = file->publish(IfThere::Replace);  // one that nobody can open gives way
  if (!published) return published.error();
  return {};
}

bool TenantKeys::remember(const std::string& tenant, const SecretKey& key,
                          std::uint64_t generation) {
  const std::lock_guard lock(mutex_);
  if (generation != generation_) return false;
  known_[tenant] = key;
  return true;
}

Result<std::optional<SecretKey>> TenantKeys::find(const std::string& tenant) {
  while (true) {
    std::uint64_t generation = 0;
    {
      const std::lock_guard lock(mutex_);
      const auto found = known_.find(tenant);
      if (found != known_.end()) return std::optional<SecretKey>(found->second);
      generation = generation_;
    }
    auto key = read(tenant);
    if (!key || !*key || remember(tenant, **key, generation)) return key;
  }
}

Result<SecretKey> TenantKeys::obtain(const std::string& tenant) {
  for (int tries = 0; tries < kMakeTries; ++tries) {
    auto found = find(tenant);
    if (!found) return found.error();
    if (*found) return **found;
    if (auto made = make(tenant); !made) return made.error();
  }
  return Error{std::string(domain::error::kStorageFailed),
               "the tenant was forgotten again and again while its key was made",
               {}};
}

Result<void> TenantKeys::forget(const std::string& tenant) {
  const std::string path = path_of(tenant);
  const bool there = ::unlink(path.c_str()) == 0;
  const int failed = there ? 0 : errno;
  {
    const std::lock_guard lock(mutex_);
    known_.erase(tenant);
    ++generation_;
  }
  if (there) return sync_folder(folder_);
  if (failed == ENOENT) return {};
  return file_error("cannot remove the key file " + path, failed);
}

}  // namespace glowplug::models
