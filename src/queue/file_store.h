// Uploaded files and those that batches make: their bytes beside the state file, under the name of
// their SHA-256, and a row for each in the table `files`.
//
//   begin() ──▶ FileDraft, piece by piece ──▶ keep(): fsync, rename, folder synced, row committed
//
// A file exists once its row is on the disk. What has no row (a draft that was given up, a server
// that was killed) is removed: by the draft's end, or when the folder is opened. Files of the same
// bytes share them; the bytes go with the last row, and last hold, that names them. A file that is
// deleted while it is held (the input of a batch under way) keeps its row, hidden, so that it is
// there after a restart too.
//
// Thread: the server loop, callbacks too; FileDraft::write on the disk thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "models/durable_file.h"
#include "models/sha256.h"
#include "queue/disk_thread.h"
#include "storage/write_loop.h"

namespace glowplug::queue {

struct FileRecord {
  std::string id;    // "file-" and 24 letters and digits
  std::string name;  // as its sender called it; shown, never a path
  std::string purpose;
  std::uint64_t bytes = 0;
  std::string digest;  // SHA-256, hex
  WallTime created{};
  std::optional<WallTime> expires;
  bool deleted = false;  // not shown any more, and still held
};

// What is counted of all files together.
struct FileSpace {
  std::uint64_t bytes_max = 0;
  std::atomic<std::uint64_t> bytes = 0;  // of rows and drafts
};

// A full budget refuses what comes from outside; results of what was accepted are kept all the
// same.
enum class FileOrigin { Uploaded, Made };

// Content on its way to become a file; removed unless it is kept.
class FileDraft final {
 public:
  FileDraft(models::DurableFile file, std::shared_ptr<FileSpace> space, FileOrigin origin);
  ~FileDraft();
  FileDraft(const FileDraft&) = delete;
  FileDraft& operator=(const FileDraft&) = delete;

  // Errors: disk_full, storage_failed, no_file_space. Thread: the disk's.
  Result<void> write(std::string_view piece);
  std::uint64_t bytes() const { return bytes_; }

 private:
  friend class FileStore;
  models::DurableFile file_;
  models::Sha256 hash_;
  std::shared_ptr<FileSpace> space_;  // owners: the store and its drafts
  FileOrigin origin_;
  std::uint64_t bytes_ = 0;
};

struct FileWish {
  std::string name;
  std::string purpose;
  std::optional<Duration> expires_after;
};

class FileStore final {
 public:
  struct Parts {
    std::string folder;
    storage::WriteLoop& writes;
    DiskThread& disk;
    const Clock& clock;
    std::uint64_t bytes_max;
  };
  using Draft = std::shared_ptr<FileDraft>;  // owners: who fills it, and work on the disk thread
  using Record = std::function<void(Result<FileRecord>)>;
  using Done = std::function<void(Result<void>)>;
  using Hold = std::shared_ptr<const std::string>;  // of bytes, by their path

  // Reads the rows, and removes what none of them names.
  static Result<std::unique_ptr<FileStore>> open(Parts parts);

  // Errors: no_file_space, where there are too many files or too many bytes.
  void begin(FileOrigin origin, std::function<void(Result<Draft>)> done);
  void append(Draft draft, std::string piece, Done done);
  void keep(Draft draft, FileWish wish, Record done);

  // keep() in two steps, for rows that go into a transaction of somebody else's: sealed bytes stay
  // until adopt() or drop().
  void seal(Draft draft, FileWish wish, Record done);
  static Result<void> insert(storage::Database& database, const FileRecord& record);
  void adopt(const FileRecord& record);
  void drop(const FileRecord& record);

  std::optional<FileRecord> find(const std::string& id) const;
  std::optional<FileRecord> find_any(const std::string& id) const;  // also one that is deleted
  std::vector<FileRecord> list() const;                             // oldest first
  void remove(const std::string& id, Done done);                    // errors: not_found
  void sweep();  // removes what has expired, or is deleted and held no more

  // Keeps the bytes readable while it lives, also when their file is deleted.
  Hold hold(const FileRecord& record);
  void read(Hold bytes, std::uint64_t offset, std::size_t size,
            std::function<void(Result<std::string>)> done);

  std::uint64_t bytes() const { return space_->bytes; }
  std::uint64_t bytes_max() const { return space_->bytes_max; }
  std::size_t count() const { return files_.size(); }

 private:
  explicit FileStore(Parts parts);
  Result<void> load();
  std::string path_of(const std::string& digest) const;
  void let_go(const std::string& digest);
  void end_hold(const std::string& id, const std::string& digest);
  void remove_row(const std::string& id, Done done);
  void hide_row(const std::string& id, Done done);

  Parts parts_;
  std::shared_ptr<FileSpace> space_;
  std::map<std::string, FileRecord> files_;  // by id
  std::map<std::string, int> uses_;          // rows, seals and holds of each digest
  std::map<std::string, int> held_;          // by id
  std::set<std::string> leaving_;            // ids whose removal is under way
  // Owner: this object; holds keep a weak one, because they may outlive it.
  std::shared_ptr<FileStore*> self_;
};

std::string new_file_id();

}  // namespace glowplug::queue
