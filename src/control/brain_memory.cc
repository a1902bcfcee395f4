// Memory in the brain: what is reserved of each process, corrected by what is measured of it, and
// what is learned for the next one of its kind.
#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "base/units.h"
#include "control/brain.h"
#include "domain/limits.h"

namespace glowplug::control {
namespace {

using Replicas = std::map<domain::ProcessId, BrainState::Replica>;
using Templates = std::map<domain::ProcessId, BrainState::Template>;

bool is_ready(const Templates& templates, domain::ProcessId id) {
  const auto found = templates.find(id);
  return found != templates.end() && found->second.state == domain::State::Ready;
}

// What ends of itself. A template's pages stay with its forks.
std::uint64_t sum_leaving(const Replicas& replicas, const Templates& templates,
                          BrainState::Leaving when) {
  const auto is_leaving = [when](const BrainState::Replica& replica) {
    return replica.state == domain::State::Draining &&
           (when == BrainState::Leaving::WhenDone || replica.in_flight == 0);
  };
  std::uint64_t bytes = 0;
  for (const auto& [id, replica] : replicas)
    if (is_leaving(replica)) bytes += replica.host_bytes();
  for (const auto& [id, held] : templates) {
    if (held.state != domain::State::Draining) continue;
    const bool is_shared =
        std::any_of(replicas.begin(), replicas.end(),
                    [&, id = id](const BrainState::ReplicaEntry& entry) {
                      return entry.second.shares_pages_of(id) && !is_leaving(entry.second);
                    }) ||
        std::any_of(
            templates.begin(), templates.end(), [id = id](const BrainState::TemplateEntry& entry) {
              return entry.second.base == id && entry.second.state != domain::State::Draining;
            });
    if (!is_shared) bytes += held.bytes;
  }
  return bytes;
}

}  // namespace

const policy::MemoryHistory& Brain::history_of(const std::string& key) const {
  static const policy::MemoryHistory nothing;
  const auto found = memory_.find(key);
  return found == memory_.end() ? nothing : found->second;
}

std::uint64_t Brain::reservation_of(const Account& account) const {
  return policy::reservation(account.need, history_of(account.key));
}

std::uint64_t Brain::replica_bytes(const Generation& generation) const {
  return reservation_of(accounts_of(generation).executed);
}

std::uint64_t Brain::forked_bytes(const Generation& generation) const {
  return reservation_of(accounts_of(generation).forked);
}

std::uint64_t Brain::template_bytes(const Generation& generation) const {
  return reservation_of(accounts_of(generation).held);
}

// Of a template while it loads: its first replica comes right after.
std::uint64_t Brain::loading_bytes(const Generation& generation) const {
  return template_bytes(generation) + forked_bytes(generation);
}

void Brain::on(const MemoryMeasured& event) {
  if (const auto entry = replicas_.find(event.process); entry != replicas_.end())
    return measured(*entry, event);
  if (const auto entry = templates_.find(event.process); entry != templates_.end())
    measured(*entry, event);
}

// Of an heir: never lowered, and nothing is learned of it.
void Brain::raise(std::uint64_t& bytes, std::uint64_t holds, const std::string& label,
                  const std::string& who) {
  reserve(bytes, std::max(bytes, holds + policy::memory_margin(holds)), label, who, holds);
}

// A fork holds what is its own: what it shares is its template's, and counted there. While that
// ends, and after it, what was shared may look like its own: only an heir is corrected then, by all
// that it maps once nobody else counts any of it.
void Brain::measured(ReplicaEntry& entry, const MemoryMeasured& event) {
  Replica& replica = entry.second;
  if (replica.state == domain::State::Loading) return;
  Account& account = replica.account;
  const std::string& label = label_of(replica);
  const std::string who = fmt::format("replica {}", entry.first.value);
  const bool base_is_there = replica.base && templates_.contains(*replica.base);
  if (base_is_there && !is_ready(templates_, *replica.base)) return;
  if (account.inherited > 0) {
    raise(replica.memory_bytes, base_is_there ? event.own_bytes : event.mapped_bytes, label, who);
    return keep_budget_of(replica);
  }
  if (replica.from && !is_ready(templates_, *replica.from)) return;
  const std::uint64_t holds = replica.from ? event.own_bytes : event.mapped_bytes;
  account.seen = policy::seen_with(account.seen, holds);
  const auto needed = [this, &account] {
    return policy::corrected(account.need, account.seen, history_of(account.key));
  };
  if (std::exchange(account.worked, false) || needed() > replica.memory_bytes)
    note_learned(label, account, policy::kSamples);
  reserve(replica.memory_bytes, needed(), label, who, holds);
  correct_on_device(entry);
  keep_budget_of(replica);
}

// Forks that make room for each other live for a call or two and are never measured. Their leaf was
// charged with what they touched first, copies and pages of files among it: more than was their
// own, so it may lower an estimate and raises nothing.
void Brain::note_unmeasured(const Replica& gone, std::uint64_t most_bytes) {
  Account account = gone.account;
  if (!gone.from || !account.worked || account.seen.peak > 0 || account.inherited > 0) return;
  account.seen = policy::seen_with(account.seen, most_bytes);
  if (history_of(account.key).known ||
      policy::corrected(account.need, account.seen, {}) > account.need.estimate)
    return;
  note_learned(label_of(gone), account, policy::kSamples);
}

// One that loads holds more than it will: nothing of it is learned before it is ready.
void Brain::measured(TemplateEntry& entry, const MemoryMeasured& event) {
  Template& held = entry.second;
  if (held.state != domain::State::Ready) return;
  Account& account = held.account;
  const std::string who = fmt::format("template {}", entry.first.value);
  if (account.inherited > 0) return raise(held.bytes, event.mapped_bytes, held.manifest.name, who);
  if (held.is_primed() && templates_.contains(*held.base) && !is_ready(templates_, *held.base))
    return;
  const std::uint64_t holds = held.is_primed() ? event.own_bytes : event.mapped_bytes;
  account.seen = policy::seen_with(account.seen, holds);
  note_learned(held.manifest.name, account, 1);
  reserve(held.bytes, policy::corrected(account.need, account.seen, history_of(account.key)),
          held.manifest.name, who, holds);
}

void Brain::note_learned(const std::string& label, const Account& account, int samples) {
  if (account.key.empty()) return;
  if (memory_.size() >= domain::kMemoryKindsMax && !memory_.contains(account.key)) return;
  policy::MemoryHistory& history = memory_[account.key];
  const std::uint64_t before = policy::reservation(account.need, history);
  if (policy::learn(history, account.need, account.seen, samples) == policy::Learned::Nothing)
    return;
  const std::uint64_t after = policy::reservation(account.need, history);
  effects_.list.push_back(MemoryLearned{account.key, history.learned.first, history.learned.peak});
  if (after != before)
    decide(
        label, "learned",
        fmt::format("{} up to {}: the next one is reserved {} instead of {}",
                    samples == 1 ? "it holds" : "its kind holds",
                    format_bytes(history.learned.peak), format_bytes(after), format_bytes(before)));
}

void Brain::reserve(std::uint64_t& bytes, std::uint64_t needed, const std::string& label,
                    const std::string& who, std::uint64_t holds) {
  if (needed > bytes) {
    turn_.grown = label;
    decide(label, "grown",
           fmt::format("{} holds {}: {} reserved instead of {}", who, format_bytes(holds),
                       format_bytes(needed), format_bytes(bytes)));
  }
  bytes = needed;
}

void Brain::on(const MemoryKnown& event) {
  if (memory_.size() >= domain::kMemoryKindsMax) return;
  memory_[event.key] = {.learned = {.first = event.first_bytes, .peak = event.peak_bytes},
                        .known = true};
}

// What a template shared with its forks, and with theirs, stays with them when it goes: one of them
// counts it for all. False when there is none.
bool Brain::inherit(domain::ProcessId origin, std::uint64_t bytes) {
  const auto pass_to = [bytes](std::uint64_t& reserved, Account& account) {
    reserved += bytes;
    account.inherited += bytes;
    return true;
  };
  for (auto& [id, held] : templates_)
    if (held.base == origin) return pass_to(held.bytes, held.account);
  for (auto& [id, replica] : replicas_)
    if (replica.shares_pages_of(origin)) return pass_to(replica.memory_bytes, replica.account);
  return false;
}

// What an heir counted, to the next one.
void Brain::pass_on(const Replica& heir) {
  const std::uint64_t bytes = heir.account.inherited;
  if (bytes == 0 || inherit(*heir.from, bytes) || templates_.contains(*heir.base)) return;
  inherit(*heir.base, bytes);
}

// What ends of itself now, or once its calls are done.
std::uint64_t Brain::leaving_bytes(Leaving when) const {
  return known(memos_.leaving[when],
               [this, when] { return sum_leaving(replicas_, templates_, when); });
}

// Processes have turned out to hold more than was foreseen, and there is less than that: what is
// idle goes, and nothing starts meanwhile.
void Brain::relieve_memory() {
  const std::uint64_t reserved = reserved_bytes();
  if (reserved <= options_.memory_bytes) return;
  turn_.short_of_room = turn_.room_is_awaited = true;
  const std::uint64_t over = reserved - options_.memory_bytes;
  const std::uint64_t leaving = leaving_bytes(Leaving::Now);
  std::uint64_t idle_bytes = 0;
  for (const policy::Kept& one : idle()) idle_bytes += one.bytes;
  const std::uint64_t wanted = over > leaving ? std::min(over - leaving, idle_bytes) : 0;
  if (!turn_.grown.empty())
    decide(turn_.grown, "over-committed",
           fmt::format("{} reserved of {}: {} of what is idle goes, {} are leaving",
                       format_bytes(reserved), format_bytes(options_.memory_bytes),
                       format_bytes(wanted), format_bytes(leaving)));
  if (wanted > 0) evict(turn_.grown.empty() ? "what runs" : turn_.grown, wanted, {}, {});
}

}  // namespace glowplug::control
