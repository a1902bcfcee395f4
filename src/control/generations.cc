#include "control/generations.h"

#include <algorithm>
#include <utility>

#include "policy/cache_domains.h"
#include "policy/memory_ledger.h"
#include "policy/templates.h"

namespace glowplug::control {

void BrainState::Generation::set_manifest(domain::Manifest other) {
  manifest = std::move(other);
  accounts.reset();
  places.reset();
}

void BrainState::Generation::set_facts(domain::ModelFacts found) {
  facts = std::move(found);
  accounts.reset();
  places.reset();
}

BrainState::Generation* serving_generation(BrainState::Function& function, int revision) {
  if (function.current.revision == revision) return &function.current;
  for (BrainState::Generation& generation : function.beside)
    if (generation.revision == revision) return &generation;
  return nullptr;
}

const BrainState::Generation* serving_generation(const BrainState::Function& function,
                                                 int revision) {
  return serving_generation(const_cast<BrainState::Function&>(function), revision);
}

const BrainState::Generation* coming_generation(const BrainState::Function& function,
                                                int revision) {
  if (!function.next) return nullptr;
  for (const BrainState::Generation& generation : function.next->fresh)
    if (generation.revision == revision) return &generation;
  return nullptr;
}

std::vector<policy::Share> shares_of(const BrainState::Function& function) {
  std::vector<policy::Share> shares;
  each_serving(function, [&shares](const BrainState::Generation& generation) {
    shares.push_back({generation.revision, generation.weight, generation.gathered});
  });
  return shares;
}

const domain::Budget& budget_of(const BrainState::Function& function,
                                const BrainState::Generation& generation) {
  const bool serves = serving_generation(function, generation.revision) != nullptr;
  return (serves ? function.current : generation).manifest.scale.budget;
}

void assign(BrainState::Waiting& waiting, const BrainState::Generation& generation) {
  waiting.revision = generation.revision;
  const domain::Manifest& manifest = generation.manifest;
  if (policy::keeps_apart(manifest))
    waiting.domain = waiting.caller;
  else  // all callers of a function that shares are one tenant, of that function alone
    waiting.domain = {
        .tenant = policy::has_prompt_state(manifest) ? "function:" + manifest.name : "",
        .salt = ""};
}

// Their keys are long texts, and asked for at each turn.
const BrainState::Accounts& accounts_of(const BrainState::Generation& generation) {
  if (generation.accounts) return *generation.accounts;
  const policy::TemplateSource source{generation.manifest, generation.facts};
  const auto key = [&](policy::MemoryKind kind) {
    return policy::memory_key(kind, source, generation.revision);
  };
  BrainState::Accounts& made = generation.accounts.emplace();
  made.executed = {.key = key(policy::MemoryKind::Replica), .need = policy::replica_need(source)};
  made.forked = {.key = key(policy::MemoryKind::Forked), .need = policy::forked_need(source)};
  made.held = {.key = key(policy::MemoryKind::Template), .need = policy::template_need(source)};
  return made;
}

bool has_learned(const BrainState::Generation& generation, const domain::LearnedPrime& prime) {
  return std::any_of(generation.learned.begin(), generation.learned.end(),
                     [&prime](const BrainState::Learned& one) { return one.prime.is_same(prime); });
}

bool may_use(const BrainState::Template& held, const BrainState::Generation& generation) {
  return policy::uses_template(generation.manifest) &&
         policy::same_template({held.manifest, held.facts},
                               {generation.manifest, generation.facts}) &&
         (!held.is_primed() || (held.learned ? has_learned(generation, *held.learned)
                                             : held.manifest.prime == generation.manifest.prime));
}

bool grows(const BrainState::Generation& generation) {
  return generation.scaling && generation.scaling->told && generation.scaling->told->wanted > 0;
}

int ahead_of_calls(const BrainState::Generation& generation) {
  const Scaling* scaling = generation.scaling.get();
  return scaling != nullptr && !scaling->stopped && scaling->is_ahead() ? scaling->wish->wanted : 0;
}

}  // namespace glowplug::control
