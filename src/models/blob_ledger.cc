#include "models/blob_ledger.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <sstream>
#include <vector>

#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <fmt/format.h>
#include <sys/stat.h>

#include "base/unique_fd.h"
#include "domain/errors.h"
#include "models/file_fetch.h"
#include "models/file_lock.h"

namespace glowplug::models {
namespace {

namespace json = boost::json;

std::int64_t nanoseconds(const timespec& time) {
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

// Absent or of another type is the empty value: a newer or older server wrote it.
template <typename Number>
Number number(const json::object& object, std::string_view key) {
  const json::value* found = object.if_contains(key);
  if (found == nullptr || !found->is_number()) return {};
  boost::system::error_code error;
  const auto value = found->to_number<Number>(error);
  return error ? Number{} : value;
}

BlobRecord record_of(const json::object& object) {
  const json::value* pinned = object.if_contains("pinned");
  return {.verified = {.bytes = number<std::uint64_t>(object, "bytes"),
                       .inode = number<std::uint64_t>(object, "inode"),
                       .mtime_ns = number<std::int64_t>(object, "mtime_ns"),
                       .ctime_ns = number<std::int64_t>(object, "ctime_ns")},
          .verified_ms = number<std::int64_t>(object, "verified_ms"),
          .last_used_ms = number<std::int64_t>(object, "last_used_ms"),
          .uses = number<std::uint64_t>(object, "uses"),
          .floor = number<double>(object, "floor"),
          .pinned = pinned != nullptr && pinned->is_bool() && pinned->get_bool()};
}

json::object object_of(const BlobRecord& record) {
  return {{"bytes", record.verified.bytes},
          {"inode", record.verified.inode},
          {"mtime_ns", record.verified.mtime_ns},
          {"ctime_ns", record.verified.ctime_ns},
          {"verified_ms", record.verified_ms},
          {"last_used_ms", record.last_used_ms},
          {"uses", record.uses},
          {"floor", record.floor},
          {"pinned", record.pinned}};
}

// The longest unused go first; a pin is a wish, and stays.
void forget_beyond(LedgerState& state, std::size_t records_max) {
  if (state.blobs.size() <= records_max) return;
  std::vector<std::pair<std::int64_t, std::string>> order;
  for (const auto& [sha256, record] : state.blobs)
    if (!record.pinned)
      order.emplace_back(std::max(record.last_used_ms, record.verified_ms), sha256);
  std::sort(order.begin(), order.end());
  for (const auto& [when, sha256] : order) {
    if (state.blobs.size() <= records_max) return;
    state.blobs.erase(sha256);
  }
}

}  // namespace

std::optional<FileMark> mark_of(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
  return FileMark{.bytes = static_cast<std::uint64_t>(status.st_size),
                  .inode = status.st_ino,
                  .mtime_ns = nanoseconds(status.st_mtim),
                  .ctime_ns = nanoseconds(status.st_ctim)};
}

LedgerState BlobLedger::read() const {
  std::ifstream file(folder_ + "/ledger.json");
  std::stringstream text;
  text << file.rdbuf();
  boost::system::error_code error;
  const json::value value = json::parse(text.str(), error);
  LedgerState state;
  if (error || !value.is_object()) return state;
  state.floor = number<double>(value.get_object(), "floor");
  const json::value* blobs = value.get_object().if_contains("blobs");
  if (blobs == nullptr || !blobs->is_object()) return state;
  for (const auto& member : blobs->get_object())
    if (member.value().is_object())
      state.blobs[std::string(member.key())] = record_of(member.value().get_object());
  return state;
}

Result<void> BlobLedger::update(const std::function<void(LedgerState&)>& change) const {
  const auto among_servers = FileLock::take(folder_ + "/index.json.lock");
  if (!among_servers) return among_servers.error();
  LedgerState state = read();
  change(state);
  forget_beyond(state, kRecordsMax);
  json::object blobs;
  for (const auto& [sha256, record] : state.blobs) blobs[sha256] = object_of(record);
  return replace_file(folder_ + "/ledger.json",
                      json::serialize(json::object{
                          {"version", 1}, {"floor", state.floor}, {"blobs", std::move(blobs)}}));
}

Result<void> replace_file(const std::string& path, const std::string& text) {
  const auto failed = [&path](int number) {
    const auto code = number == ENOSPC || number == EDQUOT ? domain::error::kDiskFull
                                                           : domain::error::kStorageFailed;
    return Error{std::string(code),
                 fmt::format("cannot replace {}: {}", path, std::strerror(number)), "model"};
  };
  const std::string fresh = path + ".new";
  const UniqueFd fd(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd.valid()) return failed(errno);
  if (auto written = write_all(fd.get(), text.data(), text.size(), fresh); !written) return written;
  if (::fsync(fd.get()) != 0 || ::rename(fresh.c_str(), path.c_str()) != 0) return failed(errno);
  const UniqueFd folder(
      ::open(path.substr(0, path.rfind('/')).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.valid() || ::fsync(folder.get()) != 0) return failed(errno);
  return {};
}

}  // namespace glowplug::models
