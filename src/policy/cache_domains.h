// What a function's manifest says of prompt state: whether callers are kept apart, and whether a
// replica's is worth a copy.
//
// Thread: pure functions.
#pragma once

#include "domain/manifest.h"

namespace glowplug::policy {

// Prompt state of our own engines only: a foreign process answers for its own.
constexpr bool has_prompt_state(const domain::Manifest& manifest) {
  return manifest.task == domain::Task::Generate &&
         manifest.engine.kind != domain::EngineKind::Process;
}

// Whether each cache domain gets replicas of its own.
constexpr bool keeps_apart(const domain::Manifest& manifest) {
  return has_prompt_state(manifest) && manifest.share == domain::Share::Domain;
}

}  // namespace glowplug::policy
