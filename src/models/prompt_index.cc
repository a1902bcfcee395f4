#include "models/prompt_index.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "domain/limits.h"

namespace glowplug::models {
namespace {

bool contains(const StateIds& ids, std::uint64_t id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

bool same_kind(const StateEntry& a, const StateEntry& b) {
  return a.owner == b.owner && a.fit == b.fit;
}

std::uint64_t excess(std::uint64_t count, std::uint64_t bound) {
  return count > bound ? count - bound : 0;
}

// A file's time may be anything; nothing is idle for longer than ten years.
Duration idle_time(std::int64_t last_used, std::int64_t now) {
  constexpr std::int64_t kIdleMax = std::int64_t{10} * 365 * 24 * 3600;
  return std::chrono::seconds(now - std::clamp(last_used, now - kIdleMax, now));
}

}  // namespace

bool PromptIndex::add(std::uint64_t id, StateEntry entry) {
  return entries_.try_emplace(id, std::move(entry)).second;
}

StateEntry* PromptIndex::find(std::uint64_t id) {
  const auto found = entries_.find(id);
  return found == entries_.end() ? nullptr : &found->second;
}

std::optional<StateEntry> PromptIndex::take(std::uint64_t id) {
  auto node = entries_.extract(id);
  if (node.empty()) return std::nullopt;
  return std::move(node.mapped());
}

std::uint64_t PromptIndex::bytes() const {
  std::uint64_t total = 0;
  for (const auto& [id, entry] : entries_) total += entry.bytes;
  return total;
}

std::uint64_t PromptIndex::memory_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& [id, entry] : entries_)
    if (entry.in_memory.valid() && !entry.pending) bytes += entry.bytes;
  return bytes;
}

std::vector<UniqueFd> PromptIndex::shrink_memory(std::uint64_t bytes) {
  std::vector<StateEntry*> held;
  for (auto& [id, entry] : entries_)
    if (entry.in_memory.valid() && !entry.pending) held.push_back(&entry);
  std::stable_sort(held.begin(), held.end(), [](const StateEntry* a, const StateEntry* b) {
    return a->last_used > b->last_used;
  });
  std::vector<UniqueFd> closed;
  std::uint64_t kept = 0;
  for (StateEntry* entry : held) {
    if (kept + entry->bytes <= bytes)
      kept += entry->bytes;
    else
      closed.push_back(std::move(entry->in_memory));
  }
  return closed;
}

std::size_t PromptIndex::pending() const {
  return static_cast<std::size_t>(std::count_if(
      entries_.begin(), entries_.end(), [](const auto& one) { return one.second.pending; }));
}

StateIds PromptIndex::of_tenant(const std::string& tenant) const {
  StateIds ids;
  for (const auto& [id, entry] : entries_)
    if (entry.owner.tenant == tenant) ids.push_back(id);
  return ids;
}

StateIds PromptIndex::without_tokens(const StateOwner& owner) const {
  StateIds ids;
  for (const auto& [id, entry] : entries_)
    if (entry.owner == owner && !entry.tokens) ids.push_back(id);
  return ids;
}

StateIds PromptIndex::last_used_before(std::int64_t when) const {
  StateIds ids;
  for (const auto& [id, entry] : entries_)
    if (!entry.pending && entry.last_used < when) ids.push_back(id);
  return ids;
}

std::optional<std::uint64_t> PromptIndex::with_tokens(const StateEntry& like) const {
  for (const auto& [id, entry] : entries_)
    if (same_kind(entry, like) && entry.tokens && entry.tokens == like.tokens) return id;
  return std::nullopt;
}

StateIds PromptIndex::replaced_by(const StateEntry& longer) const {
  StateIds ids;
  for (const auto& [id, entry] : entries_)
    if (!entry.pending && same_kind(entry, longer) && entry.tokens && longer.tokens &&
        entry.tokens->size() < longer.tokens->size() &&
        std::equal(entry.tokens->begin(), entry.tokens->end(), longer.tokens->begin()))
      ids.push_back(id);
  return ids;
}

std::vector<policy::PromptWorth> PromptIndex::worths(const StateIds& without,
                                                     std::int64_t now) const {
  std::vector<policy::PromptWorth> worths;
  for (const auto& [id, entry] : entries_)
    if (!entry.pending && !contains(without, id))
      worths.push_back({.id = id,
                        .bytes = entry.bytes,
                        .tokens = entry.token_count,
                        .uses = entry.uses,
                        .recompute = entry.recompute,
                        .idle = idle_time(entry.last_used, now)});
  return worths;
}

std::optional<StateIds> PromptIndex::make_room(const StateEntry& fresh, const Room& room) const {
  StateIds gone = replaced_by(fresh);
  std::uint64_t held = bytes() + fresh.bytes;
  for (const std::uint64_t id : gone) held -= entries_.at(id).bytes;
  const std::size_t replaced = gone.size();
  const auto give_up = [&gone](const StateIds& ids) {
    gone.insert(gone.end(), ids.begin(), ids.end());
  };

  const auto for_bytes =
      policy::prompts_to_evict(worths(gone, room.now), excess(held, room.budget_bytes));
  if (!for_bytes) return std::nullopt;
  give_up(*for_bytes);

  std::size_t of_owner = 1;
  auto candidates = worths(gone, room.now);
  for (const auto& [id, entry] : entries_)
    if (entry.owner == fresh.owner && !contains(gone, id)) ++of_owner;
  std::erase_if(candidates, [this, &fresh](const policy::PromptWorth& worth) {
    return entries_.at(worth.id).owner != fresh.owner;
  });
  give_up(policy::least_valuable_prompts(candidates,
                                         excess(of_owner, domain::kPromptStatesPerOwnerMax)));
  give_up(policy::least_valuable_prompts(
      worths(gone, room.now), excess(entries_.size() - gone.size() + 1, domain::kPromptStatesMax)));
  return StateIds(gone.begin() + static_cast<std::ptrdiff_t>(replaced), gone.end());
}

StateIds PromptIndex::over_budget(const Room& room) const {
  const std::uint64_t held = bytes();
  StateIds gone = policy::prompts_to_evict(worths({}, room.now), excess(held, room.budget_bytes))
                      .value_or(StateIds());
  const StateIds too_many = policy::least_valuable_prompts(
      worths(gone, room.now), excess(entries_.size() - gone.size(), domain::kPromptStatesMax));
  gone.insert(gone.end(), too_many.begin(), too_many.end());
  return gone;
}

}  // namespace glowplug::models
