// Templates: whose replicas are forked from one, which revisions share it, and what it weighs.
//
// A template holds the model once; a replica forked from it adds its KV cache and the pages that it
// writes. Estimates are high for the reason given in admission.h.
//
// Thread: pure functions.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/time_types.h"
#include "domain/ids.h"
#include "domain/manifest.h"
#include "domain/model_facts.h"

namespace glowplug::policy {

bool uses_template(const domain::Manifest& manifest);

// What a template is loaded from: nothing in it may differ between the revisions that share it.
struct TemplateSource {
  const domain::Manifest& manifest;
  const domain::ModelFacts& facts;
};
bool same_template(const TemplateSource& a, const TemplateSource& b);

std::uint64_t estimate_template_bytes(const TemplateSource& source);
std::uint64_t estimate_forked_bytes(const TemplateSource& source);  // of each further replica

// What a template holds beside its base once its manifest's primes are computed, in every slot and
// once more each: by the length of their texts, because their tokens are not known yet.
std::uint64_t estimate_primed_bytes(const TemplateSource& source);
// The same of one prime of so many tokens.
std::uint64_t estimate_learned_bytes(const TemplateSource& source, std::size_t tokens);

}  // namespace glowplug::policy
