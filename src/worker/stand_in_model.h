// A model file of the same shape in another type: what the weights would be as q4_0, say, with
// random values in their place. It answers nothing sensible, and computes as fast as the real one,
// so that a file's speed can be measured without fetching it.
//
// What the file holds most of, besides its token tables, takes the other type; the rest is copied.
// The stand-in is in memory only (memfd) and gone with the process.
//
// Thread: any, before the engine is loaded.
#pragma once

#include <string>

#include "base/result.h"

namespace glowplug::worker {

// Gives a path by which this process, and nobody else, can open it.
[[nodiscard]] Result<std::string> make_stand_in(const std::string& model_path,
                                                const std::string& file_type);

}  // namespace glowplug::worker
