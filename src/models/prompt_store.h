// Prompt states ("checkpoints") on disk: the engine's memory of one conversation, so that a replica
// woken from zero need not prefill it again.
//
//     <folder>/states/<id>.state   one sealed state each (prompt_state_file.h)
//     <folder>/keys/               tenants' keys; master.key beside it, unless it lies elsewhere
//
// A state is handed out only to its owner, only for what it fits, and only after every byte of it
// was found genuine; no plaintext ever reaches a disk. Damaged files are removed and counted, never
// served. It is a cache: whatever is refused is prefilled again, and whatever does not fit the
// budget gives way by its value (policy/prompt_value.h). A state can be loaded from memory while it
// is being written, and later while it is among those last used. When a conversation grew, its new
// state replaces the old one once it is on the disk; until then both lie there, so the folder may
// exceed its budget by the one that goes.
//
// Thread: any; one lock around the index, held across no I/O, cryptography or callback. keep() and
// load() take as long as the disk does: they are not for a loop's thread. One store per folder and
// machine; a second one is refused.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time_types.h"
#include "base/unique_fd.h"
#include "models/file_lock.h"
#include "models/prompt_index.h"
#include "models/prompt_state_file.h"
#include "models/state_types.h"
#include "models/tenant_keys.h"

namespace glowplug::models {

struct PromptStoreOptions {
  std::string folder;
  std::uint64_t budget_bytes = 0;  // of all states together
  std::uint64_t memory_bytes = 0;  // of those last used, in memory as well: no disk, no decryption
  Duration ttl{};                  // since the last use
  std::string master_key_file;     // <folder>/master.key when empty
  // Told of each damaged state that is removed, and why; by whichever thread found it.
  std::function<void(std::uint64_t id, const std::string& why)> on_damage = {};
};

struct KeptState {
  std::uint64_t id = 0;
  Tokens tokens;
  std::uint64_t bytes = 0;
};

enum class StateStanding { Pending, Kept };

struct StateSummary {
  std::uint64_t id = 0;
  StateOwner owner;
  std::string model_sha256;
  std::uint64_t tokens = 0;
  std::uint64_t bytes = 0;
  std::uint64_t uses = 0;      // since this server started
  std::int64_t last_used = 0;  // unix seconds
  StateStanding standing = StateStanding::Kept;
};

struct PromptStoreCounts {
  std::uint64_t kept = 0;      // written
  std::uint64_t restored = 0;  // handed out
  std::uint64_t replaced = 0;  // by a longer one
  std::uint64_t evicted = 0;   // to make room
  std::uint64_t expired = 0;
  std::array<std::uint64_t, kStateRefusals.size()> refused{};  // in the order of kStateRefusals
  std::uint64_t states = 0;                                    // now
  std::uint64_t bytes_held = 0;                                // now
  std::uint64_t memory_held = 0;                               // now, of memory

  std::uint64_t refused_for(StateRefusal reason) const {
    return refused[static_cast<std::size_t>(reason)];
  }
};

class PromptStore final {
 public:
  using UnixClock = std::function<std::int64_t()>;  // seconds

  // Reads headers only. Removes what a crash left half written, what is damaged, what has no key.
  static Result<std::unique_ptr<PromptStore>> open(PromptStoreOptions options, UnixClock clock);

  // What this owner may be given for this fit. The first call for an owner decrypts his token
  // lists.
  std::vector<KeptState> remembered(const StateOwner& owner, const StateFit& fit);

  // `fd` is a memfd with the engine's file, which nobody writes any more: it is sealed where that
  // is possible, copied where it is not, and stays the caller's. `recompute` is what a prefill of
  // it would take; zero when nobody measured that. The id of a state with equal tokens comes back
  // when there is one.
  Result<std::uint64_t> keep(const StateOwner& owner, const StateFit& fit, int fd,
                             Duration recompute = Duration(0));

  // A memfd with the engine's file, sealed, at offset 0.
  Result<UniqueFd> load(const StateOwner& owner, const StateFit& fit, std::uint64_t id);

  Result<void> drop(std::uint64_t id);                    // nothing happens when it is not there
  Result<void> forget_tenant(const std::string& tenant);  // its key is gone, so are its states
  void expire();                                          // what its time to live is over for

  std::vector<StateSummary> list() const;
  PromptStoreCounts counts() const;
  std::uint64_t budget_bytes() const { return options_.budget_bytes; }

 private:
  PromptStore(PromptStoreOptions options, UnixClock clock, FileLock folder_lock,
              std::unique_ptr<TenantKeys> keys);

  void hold(std::uint64_t id, const UniqueFd& state);
  std::string path_of(std::uint64_t id) const;
  Result<void> scan();
  void scan_file(const std::string& path, std::uint64_t id);
  void learn_tokens(const StateOwner& owner);
  struct OpenedState {
    UniqueFd fd;
    StateHeader header;
    SecretKey key;  // its tenant's
  };
  OrRefused<OpenedState> open_kept(std::uint64_t id);
  OrRefused<UniqueFd> read_kept(std::uint64_t id, const StateOwner& owner, const StateFit& fit);

  struct Admission {
    std::optional<std::uint64_t> already;  // the state with the same tokens
    StateIds gone;                         // out of the index; their files are to be removed
    std::optional<Refused> refused;
  };
  Admission admit(std::uint64_t id, StateEntry entry, std::int64_t now);
  struct Draft;
  Result<void> write(const Draft& draft);
  OrRefused<StateIds> commit(std::uint64_t id);  // the ones it replaced

  void remove_files(const StateIds& ids);
  void remove_entry(std::uint64_t id);
  void note_use(std::uint64_t id, std::int64_t now);
  Error refuse(const Refused& refused);
  // Counts it, and removes the state when it is its file's fault.
  Error refuse_state(std::uint64_t id, const Refused& refused);

  const PromptStoreOptions options_;
  const UnixClock clock_;
  const FileLock folder_lock_;
  const std::unique_ptr<TenantKeys> keys_;

  mutable std::mutex mutex_;
  PromptIndex index_;
  PromptStoreCounts counts_;
};

}  // namespace glowplug::models
