// Takes single members out of a zip archive (a Python wheel), with zlib; the only file that knows
// it is its .cc.
//
// Sizes come from the central directory and are checked against the file before they are believed;
// the CRC of each member is checked. Archives over 4 GB (zip64) are refused, and so are methods
// other than stored and deflate.
//
// Thread: pure function of the file.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/result.h"

namespace glowplug::models {

// Writes the one member whose name matches `glob` through `write`, which returns false to stop;
// false then comes back. None or several matches are an error (model_rejected).
Result<bool> extract_member(const std::string& archive, const std::string& glob,
                            const std::function<bool(const char*, std::size_t)>& write);

}  // namespace glowplug::models
