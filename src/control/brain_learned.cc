// Primes that are learned: what recent prompts of one cache domain begin with is computed once in a
// template of that domain, and its next replicas are forked from there.
//
// Only where the manifest declares no primes of its own. Nothing waits for such a template, and
// replicas of other domains never come from it.
#include <algorithm>
#include <chrono>
#include <utility>

#include <fmt/format.h>

#include "base/units.h"
#include "control/brain.h"
#include "domain/limits.h"
#include "policy/cache_domains.h"

namespace glowplug::control {
namespace {

constexpr Duration kLearnAgainAfter = std::chrono::minutes(10);  // of one domain, something else

}  // namespace

void Brain::on(const BeginningShared& event) {
  const auto entry = replicas_.find(event.replica);
  if (entry == replicas_.end() || !entry->second.domain || event.tokens == nullptr) return;
  Generation* generation = generation_of(entry->second.function, entry->second.revision);
  if (generation == nullptr || !generation->manifest.prime.empty() ||
      !policy::has_prompt_state(generation->manifest))
    return;
  std::vector<Learned>& all = generation->learned;
  Learned fresh{{*entry->second.domain, event.tokens, event.prompts}, now_};
  const auto known = std::find_if(all.begin(), all.end(), [&fresh](const Learned& one) {
    return one.prime.domain == fresh.prime.domain;
  });
  if (known != all.end()) {
    if (known->prime.is_same(fresh.prime) || now_ - known->since < kLearnAgainAfter) return;
    all.erase(known);
  }
  all.insert(all.begin(), std::move(fresh));
  if (all.size() > domain::kLearnedPrimesMax) all.pop_back();
  drop_unused_templates();
}

Brain::TemplateEntry* Brain::learned_of(const Generation& generation,
                                        const domain::CacheDomain& domain) {
  for (TemplateEntry& entry : templates_) {
    const std::optional<domain::LearnedPrime>& learned = entry.second.learned;
    if (learned && learned->domain == domain && entry.second.state != domain::State::Draining &&
        may_use(entry.second, generation))
      return &entry;
  }
  return nullptr;
}

const Brain::TemplateEntry* Brain::learned_of(const Generation& generation,
                                              const domain::CacheDomain& domain) const {
  return const_cast<Brain*>(this)->learned_of(generation, domain);
}

// For the domain that waits longest; false where it has no such template, or no room.
bool Brain::fork_with_learned(const std::string& name, const Generation& generation) {
  const std::optional<domain::CacheDomain> domain = unserved(name, generation).first;
  TemplateEntry* entry = domain ? learned_of(generation, *domain) : nullptr;
  if (entry == nullptr || entry->second.state != domain::State::Ready) return false;
  const std::uint64_t bytes = forked_bytes(generation);
  if (!make_room(name, generation, bytes, entry->first)) return false;
  start_replica(name, generation, bytes, entry);
  return true;
}

void Brain::prime_learned(const std::string& name, const Generation& generation) {
  for (const Learned& one : generation.learned) {
    if (learned_of(generation, one.prime.domain) != nullptr) continue;
    Template primed;
    primed.learned = one.prime;
    primed.account.need =
        policy::learned_need({generation.manifest, generation.facts}, one.prime.tokens->size());
    fork_template(name, generation, std::move(primed),
                  fmt::format("{} tokens that {} prompts of one cache domain begin with",
                              one.prime.tokens->size(), one.prime.prompts));
  }
}

}  // namespace glowplug::control
