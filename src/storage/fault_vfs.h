// For tests: a disk that fails when it is told to, and forgets at a power cut what was not synced.
//
// It stands between SQLite and the real files. Reads see every write at once, like a page cache;
// beside it the content as of the last sync is kept, and the writes since. A sync that fails leaves
// its writes visible and never makes them durable, as Linux does: syncing again without an error
// proves nothing.
//
// power_cut() makes each file what a disk may hold then: what was synced, and of everything since a
// random subset in pieces of 512 bytes, torn within one write, in any order, cuts of the length
// too.
//
// Thread: any, as SQLite's callers are; one of these at a time, while no connection is open at its
// beginning and its end.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <sqlite3.h>

namespace glowplug::storage {

class FaultVfs final {
 public:
  enum class Kind {
    None,
    WriteFails,  // EIO; half of it is there
    DiskFull,    // ENOSPC; half of it is there
    SyncFails,   // EIO
    PowerCut     // at a write or a sync; nothing reaches the disk from then on
  };
  struct Plan {
    Kind kind = Kind::None;
    int at = 1;            // the how-many-th write (or sync) from now on, from 1
    bool lasting = false;  // all later ones too
  };

  FaultVfs();  // every connection that is opened from now on is on it
  ~FaultVfs();

  void plan(Plan plan);
  bool fired() const;
  int writes() const, syncs() const;  // since the last plan()
  // Every connection is closed. The next ones find what is left.
  void power_cut(std::uint64_t seed);

  // For the callbacks.
  struct Change {
    bool cuts_length = false;
    bool lost = false;  // its sync has failed
    std::uint64_t offset = 0;
    std::string bytes;
  };
  struct Disk {
    std::string synced;
    std::vector<Change> since;
  };
  Disk* disk(const char* path);  // null of files that are not kept account of
  int before_write(Disk* disk);  // SQLITE_OK, or what is to fail
  int sync(Disk* disk);
  bool dead() const;
  void note(Disk* disk, Change change);
  void forget(const char* path);
  sqlite3_vfs* base() const { return base_; }

 private:
  bool fails(int count, bool matches);

  sqlite3_vfs* base_;
  std::unique_ptr<sqlite3_vfs> own_;
  mutable std::mutex mutex_;
  Plan plan_;
  int writes_ = 0, syncs_ = 0;
  bool fired_ = false, dead_ = false;
  std::map<std::string, Disk> disks_;
};

}  // namespace glowplug::storage
