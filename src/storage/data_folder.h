// The data folder's ownership: one server at a time, by an flock that the kernel drops when its
// holder dies.
//
// Thread: one owner. The lock lives as long as the descriptor it returns; the file `lock` stays
// behind, and holds the number of the process that owns the folder, for the message that a second
// server prints.
#pragma once

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace glowplug::storage {

// Makes the folder with mode 0700 when it is absent.
Result<UniqueFd> lock_data_folder(const std::string& data_dir);

}  // namespace glowplug::storage
