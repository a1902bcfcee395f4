// What a prompt store knows of its states without asking the disk: whose, for what, how large, how
// used; and, from that, which are equal, which a longer one replaces, which make room.
//
// A state that is being written is pending: its entry holds the engine's file in memory, and it is
// never chosen to go. Others may hold theirs as well, the last used ones within a bound. Tokens are
// absent from an entry until somebody decrypted them.
//
// Thread: one owner (the store's lock); no I/O, no clock.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "base/time_types.h"
#include "base/unique_fd.h"
#include "models/state_types.h"
#include "policy/prompt_value.h"

namespace glowplug::models {

using Tokens = std::vector<std::int32_t>;
using StateIds = std::vector<std::uint64_t>;

struct StateEntry {
  StateOwner owner;
  StateFit fit;
  std::uint64_t bytes = 0;  // of its file
  std::uint64_t token_count = 0;
  std::optional<Tokens> tokens;
  std::uint64_t uses = 0;
  std::int64_t last_used = 0;  // unix seconds
  Duration recompute{};
  UniqueFd in_memory;    // the engine's file; always while it is pending
  bool pending = false;  // being written
};

class PromptIndex final {
 public:
  using Entries = std::map<std::uint64_t, StateEntry>;

  const Entries& entries() const { return entries_; }
  bool add(std::uint64_t id, StateEntry entry);  // false when the id is taken
  StateEntry* find(std::uint64_t id);            // null when there is none
  std::optional<StateEntry> take(std::uint64_t id);
  std::uint64_t bytes() const;
  std::size_t pending() const;
  std::uint64_t memory_bytes() const;  // held there, but for pending ones
  // What they hold beyond these bytes, the least recently used first; to be closed by the caller.
  std::vector<UniqueFd> shrink_memory(std::uint64_t bytes);

  StateIds of_tenant(const std::string& tenant) const;
  StateIds without_tokens(const StateOwner& owner) const;
  StateIds last_used_before(std::int64_t when) const;  // pending ones are left out
  std::optional<std::uint64_t> with_tokens(const StateEntry& like) const;
  StateIds replaced_by(const StateEntry& longer) const;  // their tokens are a proper prefix

  struct Room {
    std::uint64_t budget_bytes = 0;
    std::int64_t now = 0;
  };
  // Who goes so that `fresh` fits, beside those it replaces; nullopt when that is not possible.
  std::optional<StateIds> make_room(const StateEntry& fresh, const Room& room) const;
  // Who goes so that the bounds hold as they are; for a budget that became smaller.
  StateIds over_budget(const Room& room) const;

 private:
  std::vector<policy::PromptWorth> worths(const StateIds& without, std::int64_t now) const;

  Entries entries_;
};

}  // namespace glowplug::models
