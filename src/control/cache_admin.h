// The model cache as the gateway sees it: what is held in which tier, and what an operator may do
// about it.
//
// Implemented by app/live_cache over models/model_cache, and by a double in gateway tests.
// Thread: every call is made on, and every callback comes back on, the one server loop; looking and
// acting run elsewhere, because both wait for the disk.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time_types.h"

namespace glowplug::control {

// A model file: one of the cache's own, or one of the user's that a function names.
struct BlobView {
  std::string sha256;
  std::vector<std::string> names;  // the sources that gave it; of the user's file its path
  std::uint64_t bytes = 0;
  std::uint64_t resident_bytes = 0;  // in the page cache, measured
  bool in_cache = true;              // the cache's own, so that it may be pinned and evicted
  bool pinned = false;
  std::uint64_t uses = 0;  // starts from it, also before it was last evicted
  std::optional<WallTime> last_used;
  std::optional<WallTime> verified;    // when its bytes last matched its digest
  std::vector<std::string> functions;  // deployed, that name it
};

// Copies of prompts' states on the disk: src/models/prompt_store.h.
struct PromptCopies {
  std::uint64_t count = 0;
  std::uint64_t bytes = 0;
  std::uint64_t budget_bytes = 0;
  std::uint64_t memory_bytes = 0;  // of those last used, which lie in memory too
  // Since the server began:
  std::uint64_t kept = 0;      // written
  std::uint64_t restored = 0;  // handed to a replica
  std::uint64_t evicted = 0;   // to make room
  std::uint64_t expired = 0;
  std::map<std::string, std::uint64_t> refused;  // by reason; damaged ones are removed
};

struct CacheView {
  std::vector<BlobView> blobs;
  std::uint64_t disk_bytes = 0;     // of the cache's own files, unfinished and quarantined ones too
  std::uint64_t disk_budget = 0;    // 0 = only what must stay free
  std::uint64_t disk_free = 0;      // of the file system
  std::uint64_t disk_free_min = 0;  // what the cache leaves of it
  std::uint64_t quarantined_bytes = 0;
  std::uint64_t memory_bytes = 0;  // of the machine
  std::uint64_t template_budget = 0;
};

// Since the server began, but for the sizes.
struct CacheCounters {
  std::uint64_t bytes = 0;
  std::uint64_t budget_bytes = 0;
  std::uint64_t verified = 0;  // files hashed again
  std::uint64_t damaged = 0;   // of them, found not to match and moved aside
  std::uint64_t evicted = 0;
  std::uint64_t refused = 0;            // downloads without room
  std::optional<PromptCopies> prompts;  // none: no prompt outlives its replica
};

enum class CacheAction { Pin, Unpin, Verify, Evict };

class CacheAdmin {
 public:
  virtual ~CacheAdmin() = default;

  virtual void look(std::function<void(CacheView)> done) = 0;
  // Errors: not_found, blob_in_use (Evict), storage_failed, disk_full. Verify answers once it is
  // noted; what comes of it shows in a later look.
  virtual void act(CacheAction action, const std::string& sha256,
                   std::function<void(Result<void>)> done) = 0;
  virtual CacheCounters counters() const = 0;
};

}  // namespace glowplug::control
