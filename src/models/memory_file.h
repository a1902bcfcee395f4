// An engine's state in memory: a memfd that nobody can change any more.
//
// The engine wrote it, in a process that is not trusted with this one's life: it is sealed before
// it is looked at, so that it cannot shrink or change under the reader. Of the engine's format only
// the head is known: magic, version, the count of tokens, the tokens. The rest is the engine's.
//
// Thread: functions, any thread.
#pragma once

#include <cstdint>
#include <vector>

#include "base/unique_fd.h"
#include "models/state_types.h"

namespace glowplug::models {

inline constexpr std::uint32_t kEngineStateMagic = 0x67677371;  // "ggsq" of llama.cpp
inline constexpr std::uint32_t kEngineStateVersion = 3;
inline constexpr std::uint64_t kEngineHeadBytes = 12;  // before the tokens

struct EngineState {
  UniqueFd file;                     // sealed, open for reading
  std::vector<std::int32_t> tokens;  // the list as it stands there
  std::uint64_t data_bytes = 0;      // behind the tokens
};

// Seals `fd` itself where that is possible (a memfd made with MFD_ALLOW_SEALING and mapped for
// writing by nobody), and otherwise a copy of it.
OrRefused<EngineState> read_engine_state(int fd);

// The prompt's tokens in such a list. The engine's server wraps them: a mark, a version, their
// count, the tokens, then pictures; a bare list is taken as it is.
std::vector<std::int32_t> prompt_tokens(const std::vector<std::int32_t>& list);

// An empty memfd that can be sealed.
OrRefused<UniqueFd> make_memory_file();

// Against any change; comes back as a descriptor for reading with an offset of its own, at 0.
OrRefused<UniqueFd> seal_memory_file(UniqueFd file);

// Another descriptor of a sealed one, with an offset of its own.
OrRefused<UniqueFd> reopen_memory_file(int fd);

}  // namespace glowplug::models
