// The files under <cache>/models: verified ones under blobs/, unfinished ones under partial/, and
// what came from where.
//
// A blob's name is its SHA-256. It appears by rename, complete, synced and read-only, or not at
// all; nothing here ever truncates or removes one, because replicas map them. index.json maps a
// source to its digest and is replaced whole. Several servers may share the folder: whoever writes
// a partial file holds its lock, and the index is read and replaced under a lock of its own.
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
#include "models/file_lock.h"

namespace glowplug::models {

struct StoredModel {
  std::string sha256;
  std::string path;
  std::uint64_t bytes = 0;
  std::string source;  // empty when no source is remembered
};

class BlobFolder final {
 public:
  explicit BlobFolder(const std::string& cache_dir);

  Result<void> make_folders() const;
  std::string partial_path(const std::string& key) const;
  // Empty when another thread or server holds it.
  Result<std::optional<FileLock>> try_lock(const std::string& partial) const;
  std::optional<std::string> find(
      const std::string& sha256) const;  // the path of a blob that is there

  // Moves a verified file to its final name; the source is remembered.
  Result<std::string> publish(const std::string& partial, const std::string& sha256,
                              const std::string& source);
  void remember(const std::string& source, const std::string& sha256);
  std::string remembered(const std::string& source) const;  // empty when unknown
  std::vector<StoredModel> list() const;

 private:
  std::map<std::string, std::string> read_index() const;
  std::string blob_path(const std::string& sha256) const;

  std::string root_;
  mutable std::mutex index_mutex_;
};

}  // namespace glowplug::models
