#include "storage/fault_vfs.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <new>
#include <random>
#include <unistd.h>
#include <utility>

namespace glowplug::storage {
namespace {

constexpr std::uint64_t kPiece = 512;

struct FaultFile {
  sqlite3_file head;
  FaultVfs* owner;
  FaultVfs::Disk* disk;
  // The real file's memory follows.
};

FaultFile* self(sqlite3_file* file) { return reinterpret_cast<FaultFile*>(file); }
sqlite3_file* real(sqlite3_file* file) { return reinterpret_cast<sqlite3_file*>(self(file) + 1); }
FaultVfs* owner_of(sqlite3_vfs* vfs) { return static_cast<FaultVfs*>(vfs->pAppData); }

std::string read_all(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

void change_content(std::string& content, const FaultVfs::Change& change) {
  if (change.cuts_length) {
    content.resize(change.offset);
    return;
  }
  content.resize(std::max<std::size_t>(content.size(), change.offset + change.bytes.size()));
  content.replace(change.offset, change.bytes.size(), change.bytes);
}

// --- a file ---

int close_file(sqlite3_file* file) { return real(file)->pMethods->xClose(real(file)); }

int read_file(sqlite3_file* file, void* into, int size, sqlite3_int64 offset) {
  return real(file)->pMethods->xRead(real(file), into, size, offset);
}

int write_file(sqlite3_file* file, const void* from, int size, sqlite3_int64 offset) {
  const int code = self(file)->owner->before_write(self(file)->disk);
  const int written = code == SQLITE_OK ? size : size / 2;  // one that fails is torn
  if (code != SQLITE_OK && self(file)->owner->dead()) return code;
  self(file)->owner->note(
      self(file)->disk,
      {.offset = static_cast<std::uint64_t>(offset),
       .bytes = std::string(static_cast<const char*>(from), static_cast<std::size_t>(written))});
  const int done = real(file)->pMethods->xWrite(real(file), from, written, offset);
  return code != SQLITE_OK ? code : done;
}

int truncate_file(sqlite3_file* file, sqlite3_int64 size) {
  const int code = self(file)->owner->before_write(self(file)->disk);
  if (code != SQLITE_OK && code != SQLITE_FULL) return code;  // which needs no room
  self(file)->owner->note(
      self(file)->disk,
      {.cuts_length = true, .offset = static_cast<std::uint64_t>(size), .bytes = {}});
  return real(file)->pMethods->xTruncate(real(file), size);
}

int sync_file(sqlite3_file* file, int) { return self(file)->owner->sync(self(file)->disk); }

int file_size(sqlite3_file* file, sqlite3_int64* size) {
  return real(file)->pMethods->xFileSize(real(file), size);
}
int lock_file(sqlite3_file* file, int level) {
  return real(file)->pMethods->xLock(real(file), level);
}
int unlock_file(sqlite3_file* file, int level) {
  return real(file)->pMethods->xUnlock(real(file), level);
}
int check_lock(sqlite3_file* file, int* held) {
  return real(file)->pMethods->xCheckReservedLock(real(file), held);
}
int control_file(sqlite3_file* file, int what, void* argument) {
  return real(file)->pMethods->xFileControl(real(file), what, argument);
}
int sector_size(sqlite3_file* file) { return real(file)->pMethods->xSectorSize(real(file)); }
int characteristics(sqlite3_file* file) {
  return real(file)->pMethods->xDeviceCharacteristics(real(file));
}
int map_shared(sqlite3_file* file, int page, int size, int extend, void volatile** memory) {
  return real(file)->pMethods->xShmMap(real(file), page, size, extend, memory);
}
int lock_shared(sqlite3_file* file, int offset, int count, int flags) {
  return real(file)->pMethods->xShmLock(real(file), offset, count, flags);
}
void barrier(sqlite3_file* file) { real(file)->pMethods->xShmBarrier(real(file)); }
int unmap_shared(sqlite3_file* file, int remove) {
  return real(file)->pMethods->xShmUnmap(real(file), remove);
}

constexpr sqlite3_io_methods kMethods{2,
                                      close_file,
                                      read_file,
                                      write_file,
                                      truncate_file,
                                      sync_file,
                                      file_size,
                                      lock_file,
                                      unlock_file,
                                      check_lock,
                                      control_file,
                                      sector_size,
                                      characteristics,
                                      map_shared,
                                      lock_shared,
                                      barrier,
                                      unmap_shared,
                                      nullptr,
                                      nullptr};

// --- the file system ---

int open_file(sqlite3_vfs* vfs, const char* path, sqlite3_file* file, int flags, int* out_flags) {
  FaultVfs* owner = owner_of(vfs);
  FaultFile* mine = new (file) FaultFile{{nullptr}, owner, nullptr};
  const bool kept = (flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL)) != 0;
  if (kept) mine->disk = owner->disk(path);
  const int code = owner->base()->xOpen(owner->base(), path, real(file), flags, out_flags);
  if (real(file)->pMethods != nullptr) mine->head.pMethods = &kMethods;
  return code;
}

int delete_file(sqlite3_vfs* vfs, const char* path, int sync_folder) {
  FaultVfs* owner = owner_of(vfs);
  if (owner->dead()) return SQLITE_IOERR_DELETE;
  owner->forget(path);
  return owner->base()->xDelete(owner->base(), path, sync_folder);
}

}  // namespace

FaultVfs::FaultVfs()
    : base_(sqlite3_vfs_find(nullptr)), own_(std::make_unique<sqlite3_vfs>(*base_)) {
  own_->szOsFile = static_cast<int>(sizeof(FaultFile)) + base_->szOsFile;
  own_->zName = "fault";
  own_->pNext = nullptr;
  own_->pAppData = this;
  own_->xOpen = open_file;
  own_->xDelete = delete_file;
  // These ask for the real one's own data in its first argument.
  own_->xSetSystemCall = nullptr;
  own_->xGetSystemCall = nullptr;
  own_->xNextSystemCall = nullptr;
  own_->iVersion = 2;
  sqlite3_vfs_register(own_.get(), 1);
}

FaultVfs::~FaultVfs() {
  sqlite3_vfs_unregister(own_.get());
  sqlite3_vfs_register(base_, 1);
}

void FaultVfs::plan(Plan plan) {
  const std::lock_guard lock(mutex_);
  plan_ = plan;
  writes_ = syncs_ = 0;
  fired_ = dead_ = false;
}

bool FaultVfs::fired() const {
  const std::lock_guard lock(mutex_);
  return fired_;
}
bool FaultVfs::dead() const {
  const std::lock_guard lock(mutex_);
  return dead_;
}
int FaultVfs::writes() const {
  const std::lock_guard lock(mutex_);
  return writes_;
}
int FaultVfs::syncs() const {
  const std::lock_guard lock(mutex_);
  return syncs_;
}

FaultVfs::Disk* FaultVfs::disk(const char* path) {
  const std::lock_guard lock(mutex_);
  const auto [found, added] = disks_.try_emplace(path);
  if (added) found->second.synced = read_all(path);
  return &found->second;
}

void FaultVfs::forget(const char* path) {
  const std::lock_guard lock(mutex_);
  disks_.erase(path);
}

void FaultVfs::note(Disk* disk, Change change) {
  const std::lock_guard lock(mutex_);
  if (disk != nullptr) disk->since.push_back(std::move(change));
}

bool FaultVfs::fails(int count, bool matches) {
  if (!matches) return false;
  const bool now = count == plan_.at || (plan_.lasting && count > plan_.at);
  fired_ |= now;
  return now;
}

int FaultVfs::before_write(Disk* disk) {
  const std::lock_guard lock(mutex_);
  if (dead_) return SQLITE_IOERR_WRITE;
  if (disk == nullptr) return SQLITE_OK;
  ++writes_;
  if (fails(writes_ + syncs_, plan_.kind == Kind::PowerCut)) dead_ = true;
  if (dead_ || fails(writes_, plan_.kind == Kind::WriteFails)) return SQLITE_IOERR_WRITE;
  return fails(writes_, plan_.kind == Kind::DiskFull) ? SQLITE_FULL : SQLITE_OK;
}

int FaultVfs::sync(Disk* disk) {
  const std::lock_guard lock(mutex_);
  if (dead_) return SQLITE_IOERR_FSYNC;
  if (disk == nullptr) return SQLITE_OK;
  ++syncs_;
  if (fails(writes_ + syncs_, plan_.kind == Kind::PowerCut)) dead_ = true;
  if (dead_) return SQLITE_IOERR_FSYNC;
  if (fails(syncs_, plan_.kind == Kind::SyncFails)) {
    for (Change& change : disk->since) change.lost = true;
    return SQLITE_IOERR_FSYNC;
  }
  std::vector<Change> lost;
  for (Change& change : disk->since) {
    if (change.lost)
      lost.push_back(std::move(change));
    else
      change_content(disk->synced, change);
  }
  disk->since = std::move(lost);
  return SQLITE_OK;
}

void FaultVfs::power_cut(std::uint64_t seed) {
  const std::lock_guard lock(mutex_);
  std::mt19937_64 random(seed);
  for (auto& [path, disk] : disks_) {
    // All, nothing and everything between them: each in a share of the cuts.
    const double share = static_cast<double>(random() % 5) / 4;
    const auto kept = [&random, share] {
      return static_cast<double>(random() % 1000) < 1000 * share;
    };
    for (const Change& change : disk.since) {
      if (change.cuts_length) {
        if (kept()) change_content(disk.synced, change);
        continue;
      }
      for (std::uint64_t at = 0; at < change.bytes.size();) {
        const std::uint64_t offset = change.offset + at;
        const std::uint64_t size =
            std::min<std::uint64_t>(kPiece - offset % kPiece, change.bytes.size() - at);
        if (kept())
          change_content(disk.synced, {.offset = offset, .bytes = change.bytes.substr(at, size)});
        at += size;
      }
    }
    std::ofstream(path, std::ios::binary | std::ios::trunc) << disk.synced;
    ::unlink((path + "-shm").c_str());
  }
  disks_.clear();
  plan_ = {};
  fired_ = dead_ = false;
}

}  // namespace glowplug::storage
