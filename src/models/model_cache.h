// Keeps the blobs honest and within bounds: what was verified with which mark, what is pinned and
// used, what is moved aside, what may go.
//
// A blob is trusted while its mark (size, inode, times) is the one with which it last matched its
// digest; anything else is hashed again before it is used, and what does not match goes to
// quarantine. Uses are counted in memory and written by flush(); a crash loses the last ones.
//
// Thread: any. fault_of(), note_use() and counters() never touch the index or the ledger and are
// fit for the server loop: a stat at most.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "control/cache_admin.h"
#include "models/blob_folder.h"
#include "models/blob_ledger.h"
#include "models/model_users.h"

namespace glowplug::models {

// A blob that did not match its digest and was moved aside.
struct Damage {
  std::string sha256;
  std::string path;  // where it was
  std::string reason;
};

enum class Pin { No, Yes };

class ModelCache final {
 public:
  // `digest_of` resolves what functions name, given the index.
  using DigestOf =
      std::function<std::string(const ModelWish&, const std::map<std::string, std::string>& index)>;
  ModelCache(BlobFolder& folder, const Clock& clock, std::uint64_t budget_bytes,
             DigestOf digest_of);

  ModelUsers& users() { return users_; }
  void on_damage(std::function<void(const Damage&)> told);  // called on whichever thread finds it

  // Whether the file's mark is the one it was verified with.
  bool is_verified(const std::string& sha256, const std::string& path);
  // It matched its digest just now, with this mark.
  void verified(const std::string& sha256, const std::string& path, const FileMark& mark);
  // The user's own file: known until the server ends, and kept out of the ledger.
  void verified_file(const std::string& sha256, const std::string& path, const FileMark& mark);
  void quarantine(const std::string& sha256, const std::string& reason);
  // While it stands, no server evicts it. False when it is not there any more.
  bool hold(const std::string& sha256);

  // Of a verified file; empty when it is not one.
  std::string digest_of_path(const std::string& path) const;
  // Path and digest of what was verified since the server began.
  std::vector<std::pair<std::string, std::string>> verified_paths() const;
  // Why a verified file may not be used any more; empty when it may, or was never verified here.
  std::string fault_of(const std::string& path);
  void note_use(const std::string& path);
  void flush();

  Result<void> set_pin(const std::string& sha256, Pin pin);
  Result<void> evict(const std::string& sha256);
  Result<void> make_room(std::uint64_t bytes);
  control::CacheView view();
  control::CacheCounters counters() const;
  std::vector<std::string> functions_of(const std::string& sha256) const;
  // Blobs with when they were last verified, 0 where that is not known; those of one age in the
  // order of their digests.
  std::vector<std::pair<std::int64_t, std::string>> by_age() const;
  const BlobFolder& folder() const { return folder_; }
  std::int64_t now_ms() const { return clock_.wall_now().time_since_epoch().count(); }

 private:
  struct Known {
    std::string sha256;
    FileMark mark;
    bool in_cache = true;
  };
  struct Uses {
    std::uint64_t count = 0;
    std::int64_t last_ms = 0;
  };
  FunctionsOfDigest functions_by_digest() const;
  void let_go(const FunctionsOfDigest& users);
  void forget(const std::string& sha256);
  void measure();

  BlobFolder& folder_;
  const Clock& clock_;
  const std::uint64_t budget_bytes_;
  const DigestOf digest_of_;
  const BlobLedger ledger_;
  ModelUsers users_;
  mutable std::mutex mutex_;  // guards what follows; never held across I/O or a callback
  std::function<void(const Damage&)> told_;
  std::map<std::string, Known> known_;  // by path
  std::map<std::string, UniqueFd> held_;
  std::map<std::string, Uses> uses_;  // not yet written
  control::CacheCounters counters_;
};

}  // namespace glowplug::models
