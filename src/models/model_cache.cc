#include "models/model_cache.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/page_cache.h"
#include "domain/errors.h"
#include "models/cache_room.h"

namespace glowplug::models {
namespace {

Error not_held(const std::string& sha256) {
  return {std::string(domain::error::kNotFound),
          fmt::format("the cache holds no model file {}", sha256), "digest"};
}

Error in_use(const std::string& sha256, const std::string& by) {
  return {
      std::string(domain::error::kBlobInUse),
      fmt::format("the model file {} is used by {}; nothing was removed", sha256.substr(0, 12), by),
      "digest"};
}

std::optional<WallTime> time_of(std::int64_t ms) {
  return ms == 0 ? std::nullopt : std::optional(WallTime(std::chrono::milliseconds(ms)));
}

}  // namespace

ModelCache::ModelCache(BlobFolder& folder, const Clock& clock, std::uint64_t budget_bytes,
                       DigestOf digest_of)
    : folder_(folder),
      clock_(clock),
      budget_bytes_(budget_bytes),
      digest_of_(std::move(digest_of)),
      ledger_(folder.root()) {
  counters_.budget_bytes = budget_bytes;
  measure();
}

void ModelCache::on_damage(std::function<void(const Damage&)> told) {
  const std::lock_guard lock(mutex_);
  told_ = std::move(told);
}

bool ModelCache::is_verified(const std::string& sha256, const std::string& path) {
  const auto mark = mark_of(path);
  if (!mark) return false;
  {
    const std::lock_guard lock(mutex_);
    const auto known = known_.find(path);
    if (known != known_.end() && known->second.mark == *mark) return true;
  }
  const LedgerState state = ledger_.read();
  const auto record = state.blobs.find(sha256);
  if (record == state.blobs.end() || record->second.verified != *mark) return false;
  const std::lock_guard lock(mutex_);
  known_[path] = {sha256, *mark};
  return true;
}

void ModelCache::verified(const std::string& sha256, const std::string& path,
                          const FileMark& mark) {
  {
    const std::lock_guard lock(mutex_);
    known_[path] = {sha256, mark};
    ++counters_.verified;
  }
  // Unwritten it is hashed once more by the next server, and that is all.
  (void)ledger_.update([&sha256, &mark, now = now_ms()](LedgerState& state) {
    BlobRecord& record = state.blobs[sha256];
    record.verified = mark;
    record.verified_ms = now;
    if (record.last_used_ms == 0) record.floor = state.floor;
  });
  measure();
}

void ModelCache::verified_file(const std::string& sha256, const std::string& path,
                               const FileMark& mark) {
  const std::lock_guard lock(mutex_);
  known_[path] = {sha256, mark, false};
}

void ModelCache::quarantine(const std::string& sha256, const std::string& reason) {
  if (auto moved = folder_.quarantine(sha256); !moved) return;  // another server did, or it is gone
  forget(sha256);
  measure();
  std::function<void(const Damage&)> told;
  {
    const std::lock_guard lock(mutex_);
    ++counters_.damaged;
    told = told_;
  }
  if (told) told({sha256, folder_.blob_path(sha256), reason});
}

void ModelCache::forget(const std::string& sha256) {
  const std::lock_guard lock(mutex_);
  std::erase_if(known_, [&sha256](const auto& entry) {
    return entry.second.in_cache && entry.second.sha256 == sha256;
  });
  held_.erase(sha256);
}

bool ModelCache::hold(const std::string& sha256) {
  UniqueFd fd = folder_.hold(sha256);
  if (!fd.valid()) return false;
  const std::lock_guard lock(mutex_);
  held_[sha256] = std::move(fd);
  return true;
}

void ModelCache::let_go(const FunctionsOfDigest& users) {
  const std::lock_guard lock(mutex_);
  std::erase_if(held_, [&users](const auto& entry) { return !users.contains(entry.first); });
}

std::string ModelCache::digest_of_path(const std::string& path) const {
  const std::lock_guard lock(mutex_);
  const auto known = known_.find(path);
  return known == known_.end() ? std::string() : known->second.sha256;
}

std::vector<std::pair<std::string, std::string>> ModelCache::verified_paths() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::pair<std::string, std::string>> paths;
  for (const auto& [path, known] : known_) paths.emplace_back(path, known.sha256);
  return paths;
}

std::string ModelCache::fault_of(const std::string& path) {
  FileMark before;
  {
    const std::lock_guard lock(mutex_);
    const auto known = known_.find(path);
    if (known == known_.end()) return {};
    before = known->second.mark;
  }
  const auto now = mark_of(path);
  if (now && *now == before) return {};
  if (!now) return "its model file is gone";
  if (now->bytes != before.bytes)
    return fmt::format("its model file has {} bytes now, {} when it was verified", now->bytes,
                       before.bytes);
  return "its model file has changed since it was verified";
}

void ModelCache::note_use(const std::string& path) {
  const std::lock_guard lock(mutex_);
  const auto known = known_.find(path);
  if (known == known_.end() || !known->second.in_cache) return;
  Uses& uses = uses_[known->second.sha256];
  ++uses.count;
  uses.last_ms = now_ms();
}

void ModelCache::flush() {
  std::map<std::string, Uses> uses;
  {
    const std::lock_guard lock(mutex_);
    uses.swap(uses_);
  }
  if (uses.empty()) return;
  (void)ledger_.update([&uses](LedgerState& state) {
    for (const auto& [sha256, use] : uses) {
      BlobRecord& record = state.blobs[sha256];
      record.uses += use.count;
      record.last_used_ms = std::max(record.last_used_ms, use.last_ms);
      record.floor = state.floor;
    }
  });
}

Result<void> ModelCache::set_pin(const std::string& sha256, Pin pin) {
  if (!folder_.find(sha256)) return not_held(sha256);
  return ledger_.update(
      [&sha256, pin](LedgerState& state) { state.blobs[sha256].pinned = pin == Pin::Yes; });
}

Result<void> ModelCache::evict(const std::string& sha256) {
  if (!folder_.find(sha256)) return not_held(sha256);
  const FunctionsOfDigest users = functions_by_digest();
  if (const auto found = users.find(sha256); found != users.end())
    return in_use(
        sha256,
        fmt::format("the function{} {}; remove {} first", found->second.size() == 1 ? "" : "s",
                    fmt::join(found->second, ", "), found->second.size() == 1 ? "it" : "them"));
  if (const LedgerState state = ledger_.read();
      state.blobs.contains(sha256) && state.blobs.at(sha256).pinned)
    return in_use(sha256, "a pin; take it off with `glowplug cache unpin`");
  let_go(users);
  const auto removed = folder_.remove_unused(sha256);
  if (!removed) return removed.error();
  if (!*removed) return in_use(sha256, "another server that shares this cache");
  forget(sha256);
  measure();
  const std::lock_guard lock(mutex_);
  ++counters_.evicted;
  return {};
}

Result<void> ModelCache::make_room(std::uint64_t bytes) {
  flush();  // what was used lately counts
  const auto evicted =
      models::make_room({.folder = folder_,
                         .ledger = ledger_,
                         .budget_bytes = budget_bytes_,
                         .users = [this] { return functions_by_digest(); },
                         .let_go = [this](const FunctionsOfDigest& users) { let_go(users); },
                         .space = [this] { return disk_space(folder_.root()); }},
                        bytes);
  if (evicted)
    for (const std::string& sha256 : *evicted) forget(sha256);
  measure();
  const std::lock_guard lock(mutex_);
  if (!evicted) {
    ++counters_.refused;
    return evicted.error();
  }
  counters_.evicted += evicted->size();
  return {};
}

FunctionsOfDigest ModelCache::functions_by_digest() const {
  const auto index = folder_.index();
  return users_.by_digest(
      [this, &index](const ModelWish& wish) { return digest_of_(wish, index); });
}

std::vector<std::string> ModelCache::functions_of(const std::string& sha256) const {
  const FunctionsOfDigest users = functions_by_digest();
  const auto found = users.find(sha256);
  return found == users.end() ? std::vector<std::string>() : found->second;
}

std::vector<std::pair<std::int64_t, std::string>> ModelCache::by_age() const {
  const LedgerState state = ledger_.read();
  const std::int64_t now = now_ms();
  std::vector<std::pair<std::int64_t, std::string>> order;
  for (const StoredModel& model : folder_.list()) {
    const auto record = state.blobs.find(model.sha256);
    const std::int64_t verified = record == state.blobs.end() ? 0 : record->second.verified_ms;
    // A time that is still to come is of a clock that was wrong, and would keep it from its turn.
    order.emplace_back(verified <= now ? verified : 0, model.sha256);
  }
  std::sort(order.begin(), order.end());
  return order;
}

control::CacheView ModelCache::view() {
  flush();
  const LedgerState state = ledger_.read();
  const FunctionsOfDigest users = functions_by_digest();
  control::CacheView view{.disk_budget = budget_bytes_};
  const auto add = [&view, &users](control::BlobView blob, const std::string& path) {
    if (const auto found = look_at_page_cache(path, Look::Exact))
      blob.resident_bytes = found->resident_bytes;
    if (const auto found = users.find(blob.sha256); found != users.end())
      blob.functions = found->second;
    view.blobs.push_back(std::move(blob));
  };
  for (StoredModel& model : folder_.list()) {
    const auto record = state.blobs.find(model.sha256);
    const BlobRecord known = record == state.blobs.end() ? BlobRecord{} : record->second;
    view.disk_bytes += model.bytes;
    add({.sha256 = model.sha256,
         .names = std::move(model.sources),
         .bytes = model.bytes,
         .pinned = known.pinned,
         .uses = known.uses,
         .last_used = time_of(known.last_used_ms),
         .verified = time_of(known.verified_ms)},
        model.path);
  }
  std::map<std::string, Known> files;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [path, known] : known_)
      if (!known.in_cache) files.emplace(path, known);
  }
  for (const auto& [path, known] : files)
    add({.sha256 = known.sha256, .names = {path}, .bytes = known.mark.bytes, .in_cache = false},
        path);
  for (const StoredFile& file : folder_.quarantined_files()) view.quarantined_bytes += file.bytes;
  for (const StoredFile& file : folder_.partial_files()) view.disk_bytes += file.bytes;
  view.disk_bytes += view.quarantined_bytes;
  const DiskSpace space = disk_space(folder_.root());
  view.disk_free = space.free_bytes;
  view.disk_free_min = free_bytes_min(space.total_bytes);
  return view;
}

void ModelCache::measure() {
  std::uint64_t bytes = 0;
  for (const StoredModel& model : folder_.list()) bytes += model.bytes;
  const std::lock_guard lock(mutex_);
  counters_.bytes = bytes;
}

control::CacheCounters ModelCache::counters() const {
  const std::lock_guard lock(mutex_);
  return counters_;
}

}  // namespace glowplug::models
