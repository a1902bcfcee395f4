#include "models/cache_room.h"

#include <algorithm>
#include <chrono>
#include <filesystem>

#include <fmt/format.h>
#include <sys/statvfs.h>

#include "base/units.h"
#include "domain/errors.h"
#include "models/file_lock.h"
#include "policy/blob_value.h"

namespace glowplug::models {
namespace {

namespace fs = std::filesystem;
constexpr std::uint64_t kFreeMin = std::uint64_t{2} << 30;
constexpr std::uint64_t kFreeShare = 20;
constexpr std::chrono::hours kAbandonedAfter(24);

std::uint64_t sum(const std::vector<StoredFile>& files) {
  std::uint64_t bytes = 0;
  for (const StoredFile& file : files) bytes += file.bytes;
  return bytes;
}

std::uint64_t over(std::uint64_t wanted, std::uint64_t there) {
  return wanted > there ? wanted - there : 0;
}

// What is missing for `bytes` more, and why.
struct Shortage {
  std::uint64_t held = 0;
  DiskSpace space;
  std::uint64_t by_budget = 0;
  std::uint64_t by_space = 0;
  std::uint64_t bytes() const { return std::max(by_budget, by_space); }
};

Shortage shortage(const RoomNeeds& needs, std::uint64_t bytes) {
  Shortage found;
  for (const StoredModel& model : needs.folder.list()) found.held += model.bytes;
  found.held += sum(needs.folder.partial_files()) + sum(needs.folder.quarantined_files());
  found.space = needs.space();
  if (needs.budget_bytes != 0) found.by_budget = over(found.held + bytes, needs.budget_bytes);
  found.by_space = over(bytes + free_bytes_min(found.space.total_bytes), found.space.free_bytes);
  return found;
}

void remove_worthless(const BlobFolder& folder) {
  std::error_code ignored;
  for (const StoredFile& file : folder.quarantined_files()) fs::remove(file.path, ignored);
  const auto now = fs::file_time_type::clock::now();
  for (const StoredFile& file : folder.partial_files()) {
    const auto changed = fs::last_write_time(file.path, ignored);
    if (!ignored && now - changed >= kAbandonedAfter && !file.path.ends_with(".lock"))
      fs::remove(file.path, ignored);
  }
}

std::vector<policy::BlobUse> evictable(const RoomNeeds& needs, const FunctionsOfDigest& users) {
  const LedgerState ledger = needs.ledger.read();
  std::vector<policy::BlobUse> found;
  for (const StoredModel& model : needs.folder.list()) {
    const auto record = ledger.blobs.find(model.sha256);
    const BlobRecord known = record == ledger.blobs.end() ? BlobRecord{} : record->second;
    if (known.pinned || users.contains(model.sha256)) continue;
    found.push_back({.sha256 = model.sha256,
                     .bytes = model.bytes,
                     .uses = known.uses,
                     .floor = known.floor,
                     .last_used_ms = known.last_used_ms});
  }
  return found;
}

Error no_space(const RoomNeeds& needs, const Shortage& missing, std::uint64_t bytes,
               std::uint64_t could_go) {
  std::string why = fmt::format(
      "{} more are needed for a model; the cache holds {} and its disk has {} free, of "
      "which {} stay free",
      format_bytes(bytes), format_bytes(missing.held), format_bytes(missing.space.free_bytes),
      format_bytes(free_bytes_min(missing.space.total_bytes)));
  if (needs.budget_bytes != 0)
    why += fmt::format("; its budget is {}", format_bytes(needs.budget_bytes));
  why += fmt::format(
      "; {} of models could go, being unpinned and used by no function. {}: see `glowplug cache`, "
      "then remove a function or unpin a model",
      format_bytes(could_go),
      missing.by_budget > missing.by_space ? "Raise --cache-budget" : "Free some of the disk");
  return {std::string(domain::error::kNoCacheSpace), std::move(why), "model"};
}

}  // namespace

std::uint64_t free_bytes_min(std::uint64_t file_system_bytes) {
  return std::min(kFreeMin, file_system_bytes / kFreeShare);
}

DiskSpace disk_space(const std::string& folder) {
  struct statvfs room {};
  if (::statvfs(folder.c_str(), &room) != 0) return {};
  return {static_cast<std::uint64_t>(room.f_bavail) * room.f_frsize,
          static_cast<std::uint64_t>(room.f_blocks) * room.f_frsize};
}

Result<std::vector<std::string>> make_room(const RoomNeeds& needs, std::uint64_t bytes) {
  std::vector<std::string> evicted;
  if (shortage(needs, bytes).bytes() == 0) return evicted;
  const auto one_at_a_time = FileLock::take(needs.folder.root() + "/room.lock");
  if (!one_at_a_time) return one_at_a_time.error();
  remove_worthless(needs.folder);
  Shortage missing = shortage(needs, bytes);
  if (missing.bytes() == 0) return evicted;

  const FunctionsOfDigest users = needs.users();
  needs.let_go(users);
  std::vector<policy::BlobUse> candidates = evictable(needs, users);
  // What another server holds is found out by trying, so each round may need another choice.
  while (missing.bytes() > 0) {
    std::uint64_t could_go = 0;
    for (const policy::BlobUse& blob : candidates) could_go += blob.bytes;
    const auto plan = policy::choose_blobs(candidates, missing.bytes(), needs.ledger.read().floor);
    if (!plan) return no_space(needs, missing, bytes, could_go);
    for (const std::string& sha256 : plan->blobs) {
      const auto removed = needs.folder.remove_unused(sha256);
      if (!removed) return removed.error();
      if (*removed) evicted.push_back(sha256);
      std::erase_if(candidates,
                    [&sha256](const policy::BlobUse& blob) { return blob.sha256 == sha256; });
    }
    (void)needs.ledger.update([floor = plan->floor](LedgerState& state) {
      state.floor = std::max(state.floor, floor);
    });  // without it the next eviction knows a little less
    missing = shortage(needs, bytes);
  }
  return evicted;
}

}  // namespace glowplug::models
