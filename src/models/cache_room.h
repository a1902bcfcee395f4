// Makes room for a download: within the cache's budget, and leaving some of the file system free.
//
// What goes first are files in quarantine and downloads that nobody has gone on with for a day,
// then blobs that are neither pinned nor named by a deployed function nor held by another server,
// least value first (policy/blob_value). Where all that is not enough, nothing of value is removed
// and the download is refused.
//
// Thread: any; a lock among the servers of the folder lets one at a time decide.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "models/blob_folder.h"
#include "models/blob_ledger.h"
#include "models/model_users.h"

namespace glowplug::models {

// Of the file system that holds the cache: at least this much stays free, 2 GiB or a twentieth of
// it, whichever is less, so that logs, the database and other people still have room.
std::uint64_t free_bytes_min(std::uint64_t file_system_bytes);

struct DiskSpace {
  std::uint64_t free_bytes = 0;
  std::uint64_t total_bytes = 0;
};
DiskSpace disk_space(const std::string& folder);

struct RoomNeeds {
  const BlobFolder& folder;
  const BlobLedger& ledger;
  std::uint64_t budget_bytes = 0;  // 0 = none
  std::function<FunctionsOfDigest()> users;
  std::function<void(const FunctionsOfDigest&)> let_go;  // of holds that no user is behind
  std::function<DiskSpace()> space;
};

// Gives the digests of what was evicted. Error: no_cache_space.
Result<std::vector<std::string>> make_room(const RoomNeeds& needs, std::uint64_t bytes);

}  // namespace glowplug::models
