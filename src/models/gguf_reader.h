// What a GGUF file says of itself, read by a strict parser of our own before the engine ever sees
// the file.
//
// A model file is input from outside: every count is checked before anything is allocated, every
// read is bounded by the file's size, every tensor must lie where the format puts it. A file that
// passes can be mapped and loaded; one that does not is refused with the key or tensor and the
// offset at fault. The weights themselves are not read.
//
// Thread: pure function of the file.
#pragma once

#include <string>

#include "base/result.h"
#include "domain/model_facts.h"

namespace glowplug::models {

// The error is model_rejected. facts.sha256 stays empty: hashing is models/model_store's.
Result<domain::ModelFacts> read_gguf(const std::string& path);

}  // namespace glowplug::models
