// One sealed prompt state as a file: its format, writing and reading it.
//
//     header    what it is, whose, for what; readable, authenticated with both sections below
//     tokens    AES-256-GCM, tag: apart, so that asking what is remembered does not read the rest
//     data      AES-256-GCM, tag: what follows the tokens in the engine's file
//
// Numbers are little-endian. The header: "GLOWSTAT"; format version u32; header bytes u32; id u64;
// made at, unix seconds, i64; microseconds that a prefill of it took u64; data bytes u64; tokens
// u32; engine's version u32; salt 32 bytes; six texts (u16 length, bytes): model, engine, settings,
// adapters, tenant, domain; SHA-256 in hexadecimal of all before. The digest finds rot when the
// folder is opened, where no key is at hand; what finds intent are the tags. There is no digest of
// the tokens: it would let whoever holds the disk confirm a prompt that he guesses.
//
// Each file has a key of its own, derived from the tenant's with the salt, which seals two messages
// and no more: their nonces are 1 and 2, and no bound of GCM on one key is ever near.
//
// Thread: functions, any thread.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "models/aead.h"
#include "models/durable_file.h"
#include "models/memory_file.h"
#include "models/state_types.h"

namespace glowplug::models {

// 1: of a sliding window's layers the last window alone, which must not be cut; 2: all of them.
inline constexpr std::uint32_t kStateFormatVersion = 2;
inline constexpr std::chrono::hours kRecomputeMax{24};  // longer prefills count as this long

struct StateHeader {
  std::uint64_t id = 0;
  std::int64_t made_at = 0;
  std::uint64_t recompute_us = 0;
  std::uint64_t data_bytes = 0;
  std::uint32_t tokens = 0;
  std::uint32_t engine_version = kEngineStateVersion;
  std::array<std::uint8_t, 32> salt{};
  StateFit fit;
  StateOwner owner;

  std::string raw;  // as it stands in the file; made by finish_header() and read_header()
};

void finish_header(StateHeader& header);                    // draws the salt
std::uint64_t state_file_bytes(const StateHeader& header);  // of the whole file

Result<void> write_state(DurableFile& out, const StateHeader& header, const SecretKey& tenant_key,
                         const EngineState& state);

OrRefused<StateHeader> read_header(int fd);
OrRefused<std::vector<std::int32_t>> read_tokens(int fd, const StateHeader& header,
                                                 const SecretKey& tenant_key);
// The engine's file again, sealed in memory, once both tags were found right.
OrRefused<UniqueFd> read_state(int fd, const StateHeader& header, const SecretKey& tenant_key);

}  // namespace glowplug::models
