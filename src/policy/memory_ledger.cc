#include "policy/memory_ledger.h"

#include <algorithm>
#include <bit>

#include "policy/admission.h"

namespace glowplug::policy {
namespace {

constexpr std::uint64_t kMiB = 1024 * 1024;

Lowering lowering_of(const domain::Manifest& manifest) {
  const bool declared = manifest.resources.memory_bytes > 0;
  const bool foreign = manifest.engine.kind == domain::EngineKind::Process;
  return declared || foreign ? Lowering::Never : Lowering::AsLearned;
}

// Upwards, so that what grows slowly is not news at each measurement.
std::uint64_t in_steps(std::uint64_t bytes) {
  const std::uint64_t step = std::max(kMiB, std::bit_floor(bytes) / 32);
  return (bytes + step - 1) / step * step;
}

// The figure that was declared is the whole; it says nothing of the parts.
MemoryNeed need_of(std::uint64_t estimate, const TemplateSource& source) {
  const Lowering lowering = lowering_of(source.manifest);
  const std::uint64_t context =
      lowering == Lowering::Never ? 0 : estimate_cache_bytes(source.manifest, source.facts);
  return {.estimate = estimate, .context = context, .lowering = lowering};
}

std::uint64_t needed(const MemoryNeed& need, const MemorySeen& seen, bool agreed) {
  if (seen.peak == 0) return need.estimate;
  const std::uint64_t margin = need.is_still ? kStillMargin : memory_margin(seen.peak);
  if (need.lowering == Lowering::Never)
    return seen.peak > need.estimate ? seen.peak + margin : need.estimate;
  const std::uint64_t least = std::max(seen.first + need.context, seen.peak) + margin;
  const std::uint64_t most =
      agreed ? std::min(need.estimate, seen.peak + need.context + margin) : need.estimate;
  return std::max(least, most);
}

}  // namespace

std::uint64_t memory_margin(std::uint64_t measured) {
  return std::clamp(measured / 20, 8 * kMiB, 64 * kMiB);
}

MemoryNeed replica_need(const TemplateSource& source) {
  return need_of(estimate_replica_bytes(source.manifest, source.facts), source);
}

MemoryNeed forked_need(const TemplateSource& source) {
  return need_of(estimate_forked_bytes(source), source);
}

MemoryNeed template_need(const TemplateSource& source) {
  return {.estimate = estimate_template_bytes(source), .is_still = true};
}

MemoryNeed primed_need(const TemplateSource& source) {
  return {.estimate = estimate_primed_bytes(source), .lowering = Lowering::Never};
}

MemoryNeed learned_need(const TemplateSource& source, std::size_t tokens) {
  return {.estimate = estimate_learned_bytes(source, tokens), .lowering = Lowering::Never};
}

MemorySeen seen_with(MemorySeen seen, std::uint64_t measured) {
  if (seen.peak == 0) seen.first = measured;
  seen.peak = std::max(seen.peak, measured);
  return seen;
}

MemorySeen both(const MemorySeen& a, const MemorySeen& b) {
  if (a.peak == 0) return b;
  if (b.peak == 0) return a;
  return {.first = std::min(a.first, b.first), .peak = std::max(a.peak, b.peak)};
}

Learned learn(MemoryHistory& history, const MemoryNeed& need, const MemorySeen& measured,
              int samples_wanted) {
  const MemorySeen seen{.first = measured.first, .peak = in_steps(measured.peak)};
  history.recent = both(history.recent, seen);
  ++history.samples;
  const bool refuted = !history.known && needed(need, seen, false) > need.estimate;
  const bool more = refuted || (history.known && seen.peak > history.learned.peak);
  const bool agreed = !more && history.samples >= samples_wanted;
  if (!more && !agreed) return Learned::Nothing;
  const MemorySeen before = history.learned;
  history = {.learned = more ? both(before, seen) : history.recent, .known = true};
  return more ? Learned::More : history.learned != before ? Learned::Less : Learned::Nothing;
}

std::uint64_t reservation(const MemoryNeed& need, const MemoryHistory& history) {
  return needed(need, history.learned, history.known);
}

std::uint64_t corrected(const MemoryNeed& need, const MemorySeen& own,
                        const MemoryHistory& history) {
  return needed(need, both(own, history.learned), history.known);
}

std::string memory_key(MemoryKind kind, const TemplateSource& source, int revision) {
  const domain::Manifest& manifest = source.manifest;
  std::string key;
  key.reserve(160);
  const auto add = [&key](auto... parts) { (key.append(parts), ...); };
  const auto number = [](auto value) { return std::to_string(value); };
  add(kind == MemoryKind::Replica  ? "replica "
      : kind == MemoryKind::Forked ? "forked "
                                   : "template ");
  if (manifest.engine.kind == domain::EngineKind::Process) {
    add(manifest.name, " ", number(revision));
    return key;
  }
  const domain::Tuning& tuning = manifest.tuning;
  add(to_string(manifest.engine.kind), " ");
  // A figure that is declared is not of the others' kind: what refutes it says nothing of theirs.
  if (kind != MemoryKind::Template && lowering_of(manifest) == Lowering::Never)
    add("declared ", number(manifest.resources.memory_bytes), " ");
  add(std::string_view(source.facts.sha256.empty() ? manifest.engine.fake.fault
                                                   : source.facts.sha256));
  add(" ", to_string(manifest.task), " ", number(manifest.context), "x", number(manifest.slots),
      " ", number(tuning.batch), " ", to_string(tuning.repack), " ", to_string(tuning.kv));
  return key;
}

}  // namespace glowplug::policy
