// The files under <cache>/models: verified ones under blobs/, unfinished ones under partial/, and
// what came from where.
//
// A blob's name is its SHA-256. It appears by rename, complete, synced and read-only, or not at
// all; nothing here ever truncates one, because replicas map them. One that is damaged is moved to
// quarantine/, one that must go is unlinked, and what maps it keeps its bytes. index.json maps a
// source to its digest and is replaced whole. Several servers may share the folder: whoever writes
// a partial file holds its lock, whoever uses a blob holds a shared lock on it, and the index is
// read and replaced under a lock of its own.
//
// Thread: any; one mutex around the index.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "models/file_lock.h"

namespace glowplug::models {

struct StoredModel {
  std::string sha256;
  std::string path;
  std::uint64_t bytes = 0;
  std::string source;  // the first of them; empty when none is remembered
  std::vector<std::string> sources;
};

struct StoredFile {
  std::string path;
  std::uint64_t bytes = 0;
};

class BlobFolder final {
 public:
  explicit BlobFolder(const std::string& cache_dir);

  Result<void> make_folders() const;
  std::string partial_path(const std::string& key) const;
  // Empty when another thread or server holds it.
  Result<std::optional<FileLock>> try_lock(const std::string& partial) const;
  std::string blob_path(const std::string& sha256) const;  // whether it is there or not
  std::optional<std::string> find(
      const std::string& sha256) const;  // the path of a blob that is there

  // Moves a verified file to its final name; the source is remembered.
  Result<std::string> publish(const std::string& partial, const std::string& sha256,
                              const std::string& source);
  void remember(const std::string& source, const std::string& sha256);
  std::string remembered(const std::string& source) const;  // empty when unknown
  std::map<std::string, std::string> index() const;         // source → digest
  std::vector<StoredModel> list() const;                    // by digest

  const std::string& root() const { return root_; }
  std::vector<StoredFile> partial_files() const;
  std::vector<StoredFile> quarantined_files() const;
  // Moves a blob to quarantine/, over an earlier one of its name.
  Result<void> quarantine(const std::string& sha256) const;
  // False while any server holds it. One that is not there is removed already.
  Result<bool> remove_unused(const std::string& sha256) const;
  // While the descriptor is open, no server removes the blob; invalid when it is not there.
  UniqueFd hold(const std::string& sha256) const;

 private:
  std::vector<StoredFile> files_in(const std::string& name) const;
  std::map<std::string, std::string> read_index() const;

  std::string root_;
  mutable std::mutex index_mutex_;
};

}  // namespace glowplug::models
