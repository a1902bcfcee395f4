// Brings a model to this machine: fetched, checked against its digest, checked as a GGUF file, kept
// by content.
//
// A catalogue name is tried from each of its sources in turn. A file of the user's own is hashed
// and used in place. What was fetched once is found again by its source without the network.
// Nothing unverified is ever returned: what is held is trusted while it is as it was when it last
// matched its digest, hashed again when it is not, and fetched again when it no longer matches
// (models/model_cache, which also makes the room for a fetch).
//
// Thread: prepare(), held() and list() may be called from several threads; callers of one source
// share one fetch, and so do servers that share one cache folder: whoever comes second waits for
// the first.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/time_types.h"
#include "domain/model_facts.h"
#include "models/blob_folder.h"
#include "models/model_cache.h"

namespace glowplug::models {

struct ModelStoreOptions {
  std::string cache_dir;
  std::string hub_url;        // empty = HF_ENDPOINT, else https://huggingface.co
  std::string hub_token;      // empty = HF_TOKEN; sent to the hub's host only
  std::string pip_index_url;  // empty = PIP_INDEX_URL, pip's configuration, else the public index
  // May a source lie in a private network or on this machine? If not, the hosts of the hub and of
  // the package indexes still may, because the operator chose them.
  bool private_sources_allowed = false;
  std::uint64_t cache_budget_bytes = 0;  // of the blobs; 0 = what the disk gives (cache_room.h)
  const Clock* clock = nullptr;          // null = the system's
  Duration retry_wait = std::chrono::milliseconds(500);  // before the second try; doubled each time
};

struct Progress {
  std::string phase;  // "fetch" or "verify"
  std::uint64_t done = 0;
  std::uint64_t total = 0;  // 0 = unknown
  double bytes_per_second = 0;
};

class ModelStore final {
 public:
  explicit ModelStore(ModelStoreOptions options);
  ~ModelStore();

  // What prepare() would give without network and without reading a whole file; nothing where it
  // would have to, or would fail. Takes milliseconds.
  std::optional<domain::ModelFacts> held(const std::string& source, const std::string& sha256_pin);
  // Blocks until the verified file is on this machine. `cancelled` is polled at least every 200 ms.
  // Errors: model_rejected, source_unreachable (each source with its reason), forbidden (a private
  // address), checksum_mismatch, no_cache_space, disk_full, storage_failed.
  Result<domain::ModelFacts> prepare(const std::string& source, const std::string& sha256_pin,
                                     const std::function<void(const Progress&)>& progress,
                                     const std::function<bool()>& cancelled);
  std::vector<StoredModel> list() const;
  ModelCache& cache();

 private:
  class Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace glowplug::models
