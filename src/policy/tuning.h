// `glowplug tune`: which settings are tried next, and which of those tried is best.
//
// One thing is varied at a time, each at the best of what is known so far: the number of threads,
// then repacking, then the step's length, then files of other types. The KV cache's other type is
// measured and shown, but never chosen for an owner: it can change answers.
//
// The rule of choice: least time for one call (512 tokens read and 128 answered, as far as the
// function's context and limits let them; embeddings only read). Within 5 % of the least, which is
// what two runs differ by, less memory of its own decides (by a tenth at least), then being nearer
// to auto, then the time.
//
// Thread: pure functions.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "domain/engine_settings.h"
#include "domain/manifest.h"

namespace glowplug::policy {

// A file of the same model in another type, as the catalogue offers it.
struct FileOffer {
  std::string file_type, source;
};

struct TuneScope {
  const domain::Manifest& manifest;
  int cores = 1;
  std::vector<FileOffer> offers;
};

inline constexpr int kTunedBatchMost = 512;  // the longest step that is tried

// What to measure after these; nothing when it is enough. At most kTuneTrialsMax altogether.
std::optional<domain::Trial> next_trial(const TuneScope& scope,
                                        std::span<const domain::Trial> done);
// How many it will be in the end, as far as can be told now.
int trials_expected(const TuneScope& scope, std::span<const domain::Trial> done);

// Seconds for one call of the function.
double call_seconds(const domain::Manifest& manifest, const domain::Figures& figures);

// The index of the best; nothing when none was measured.
std::optional<std::size_t> best_trial(const TuneScope& scope, std::span<const domain::Trial> done);

// As a manifest says it: as many threads as cores is auto.
domain::EngineSettings choice_of(const domain::Trial& best, int cores);

// The fastest file of another type, if it is at least 1.5 times as fast as the best.
std::optional<domain::FasterFile> faster_file(const TuneScope& scope,
                                              std::span<const domain::Trial> done);

// The manifest with the choice in place of what it leaves to auto.
domain::Manifest with_choice(domain::Manifest manifest, const domain::EngineSettings& choice);
// The manifest that says the choice in full.
domain::Manifest applied(domain::Manifest manifest, const domain::EngineSettings& choice);

// Whether what was measured of one manifest holds for the other too.
bool tunes_alike(const domain::Manifest& a, const domain::Manifest& b);

}  // namespace glowplug::policy
