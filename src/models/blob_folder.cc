#include "models/blob_folder.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/unique_fd.h"
#include "domain/errors.h"
#include "models/blob_ledger.h"
#include "models/sha256.h"

namespace glowplug::models {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

Error storage(const std::string& what, int number) {
  const auto code = number == ENOSPC || number == EDQUOT ? domain::error::kDiskFull
                                                         : domain::error::kStorageFailed;
  return {std::string(code), fmt::format("{}: {}", what, std::strerror(number)), "model"};
}

Result<void> sync_path(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid() || ::fsync(fd.get()) != 0) return storage("cannot sync " + path, errno);
  return {};
}

bool is_digest(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace

BlobFolder::BlobFolder(const std::string& cache_dir) : root_(cache_dir + "/models") {}

Result<void> BlobFolder::make_folders() const {
  for (const char* name : {"/blobs", "/partial"}) {
    std::error_code error;
    fs::create_directories(root_ + name, error);
    if (error) return storage("cannot make " + root_ + name, error.value());
  }
  return {};
}

std::string BlobFolder::blob_path(const std::string& sha256) const {
  return fmt::format("{}/blobs/sha256-{}.gguf", root_, sha256);
}

std::string BlobFolder::partial_path(const std::string& key) const {
  return fmt::format("{}/partial/{}", root_, sha256_hex(key).substr(0, 32));
}

Result<std::optional<FileLock>> BlobFolder::try_lock(const std::string& partial) const {
  return FileLock::try_take(partial + ".lock");
}

std::optional<std::string> BlobFolder::find(const std::string& sha256) const {
  if (!is_digest(sha256)) return std::nullopt;
  const std::string path = blob_path(sha256);
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
  return path;
}

Result<std::string> BlobFolder::publish(const std::string& partial, const std::string& sha256,
                                        const std::string& source) {
  GLOWPLUG_ASSERT(is_digest(sha256));
  const std::string path = blob_path(sha256);
  if (::chmod(partial.c_str(), 0444) != 0)
    return storage("cannot make read-only " + partial, errno);
  if (auto synced = sync_path(partial); !synced) return synced.error();
  if (::rename(partial.c_str(), path.c_str()) != 0)
    return storage("cannot move into place " + path, errno);
  if (auto synced = sync_path(root_ + "/blobs"); !synced) return synced.error();
  std::error_code ignored;
  fs::remove(partial + ".validator", ignored);
  remember(source, sha256);
  return path;
}

std::map<std::string, std::string> BlobFolder::read_index() const {
  std::ifstream file(root_ + "/index.json");
  std::stringstream text;
  text << file.rdbuf();
  boost::system::error_code error;
  const json::value value = json::parse(text.str(), error);
  std::map<std::string, std::string> index;
  if (error || !value.is_object()) return index;  // a lost index costs a fetch, never correctness
  for (const auto& member : value.get_object())
    if (member.value().is_string())
      index[std::string(member.key())] = std::string(member.value().get_string().c_str());
  return index;
}

// A failure to write is not reported: without the line the next prepare asks the source again, and
// that is all.
void BlobFolder::remember(const std::string& source, const std::string& sha256) {
  const std::lock_guard lock(index_mutex_);
  const auto among_servers = FileLock::take(root_ + "/index.json.lock");
  if (!among_servers) return;
  auto index = read_index();
  if (index[source] == sha256) return;
  index[source] = sha256;
  json::object out;
  for (const auto& [key, digest] : index) out[key] = digest;
  (void)replace_file(root_ + "/index.json", json::serialize(out));
}

std::map<std::string, std::string> BlobFolder::index() const {
  const std::lock_guard lock(index_mutex_);
  return read_index();
}

std::string BlobFolder::remembered(const std::string& source) const {
  const std::lock_guard lock(index_mutex_);
  const auto index = read_index();
  const auto found = index.find(source);
  return found == index.end() ? std::string() : found->second;
}

std::vector<StoredModel> BlobFolder::list() const {
  std::map<std::string, std::vector<std::string>> sources_of;
  {
    const std::lock_guard lock(index_mutex_);
    for (const auto& [source, digest] : read_index()) sources_of[digest].push_back(source);
  }
  std::vector<StoredModel> models;
  for (StoredFile& file : files_in("/blobs")) {
    const std::string name = file.path.substr(file.path.rfind('/') + 1);
    if (name.size() != 76 || !name.starts_with("sha256-") || !name.ends_with(".gguf")) continue;
    const std::string digest = name.substr(7, 64);
    std::vector<std::string>& sources = sources_of[digest];
    models.push_back({digest, std::move(file.path), file.bytes,
                      sources.empty() ? std::string() : sources.front(), sources});
  }
  std::sort(models.begin(), models.end(),
            [](const StoredModel& a, const StoredModel& b) { return a.sha256 < b.sha256; });
  return models;
}

std::vector<StoredFile> BlobFolder::files_in(const std::string& name) const {
  std::vector<StoredFile> files;
  std::error_code error;
  for (fs::directory_iterator at(root_ + name, error), end; !error && at != end;
       at.increment(error)) {
    struct stat status {};
    const std::string path = at->path().string();
    if (::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode))
      files.push_back({path, static_cast<std::uint64_t>(status.st_size)});
  }
  return files;
}

std::vector<StoredFile> BlobFolder::partial_files() const { return files_in("/partial"); }

std::vector<StoredFile> BlobFolder::quarantined_files() const { return files_in("/quarantine"); }

Result<void> BlobFolder::quarantine(const std::string& sha256) const {
  std::error_code error;
  fs::create_directories(root_ + "/quarantine", error);
  const std::string path = blob_path(sha256);
  const std::string aside = root_ + "/quarantine" + path.substr(path.rfind('/'));
  if (::rename(path.c_str(), aside.c_str()) != 0)
    return storage("cannot move aside " + path, errno);
  return {};
}

// Whoever uses a blob holds a shared lock on it, in whichever server; a lock of its own says that
// nobody does.
Result<bool> BlobFolder::remove_unused(const std::string& sha256) const {
  const std::string path = blob_path(sha256);
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return true;  // another server was faster
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) return false;
  if (::unlink(path.c_str()) != 0 && errno != ENOENT)
    return storage("cannot remove " + path, errno);
  return true;
}

UniqueFd BlobFolder::hold(const std::string& sha256) const {
  UniqueFd fd(::open(blob_path(sha256).c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.valid() && ::flock(fd.get(), LOCK_SH | LOCK_NB) != 0) fd.reset();
  struct stat status {};
  if (fd.valid() && (::fstat(fd.get(), &status) != 0 || status.st_nlink == 0))
    fd.reset();  // removed between the two
  return fd;
}

}  // namespace glowplug::models
