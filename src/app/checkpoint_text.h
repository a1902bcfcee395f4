// The content of a stored checkpoint as JSON, and back:
// {format, model: {source, sha256}, adapters, settings, prompts: [{sha256, bytes}]}, where settings
// is the manifest pinned to the digest.
//
// Thread: pure functions.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "control/checkpoints.h"

namespace glowplug::app {

std::string write_checkpoint(const domain::Manifest& pinned);

struct CheckpointContent {
  domain::Manifest manifest;
  std::vector<control::PromptReference> prompts;
};
Result<CheckpointContent> read_checkpoint(const std::string& text, const std::string& function);

}  // namespace glowplug::app
