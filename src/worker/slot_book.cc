#include "worker/slot_book.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "domain/limits.h"

namespace glowplug::worker {
namespace {

// A slot that shares a little more is not worth the loss of a conversation that another would not
// cost: from this share of the best on, the loss decides.
constexpr double kNearlyBest = 0.8;

}  // namespace

std::size_t shared_prefix(std::span<const Token> a, std::span<const Token> b) {
  const std::size_t most = std::min(a.size(), b.size());
  return static_cast<std::size_t>(
      std::mismatch(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(most), b.begin()).first -
      a.begin());
}

std::size_t SlotBook::best_shared(std::span<const Token> prompt) const {
  std::size_t best = 0;
  for (const Slot& slot : slots_)
    if (!slot.taken) best = std::max(best, shared_prefix(slot.tokens, prompt));
  return best;
}

std::optional<SlotBook::Place> SlotBook::take(std::span<const Token> prompt) {
  // The few words that a chat template begins every prompt with would else draw all conversations
  // into one slot. Where no more is in common, a slot that can be cut may lose as much as it saves:
  // most prompts come once, and a conversation that goes on is soon longer.
  const std::size_t best = best_shared(prompt);
  const bool few = best < kWorthSharing;
  const auto enough =
      few ? std::size_t{0} : static_cast<std::size_t>(kNearlyBest * static_cast<double>(best));

  std::optional<Place> chosen;
  std::tuple<bool, std::size_t, std::uint64_t> cost;  // loses something; computes; last used
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const Slot& slot = slots_[i];
    const std::size_t shared = shared_prefix(slot.tokens, prompt);
    if (slot.taken || shared < enough) continue;
    const bool loses = slot.tokens.size() - shared > (few && cuts_ ? shared : 0);
    const std::tuple its{loses, loses ? std::size_t{0} : prompt.size() - shared, slot.last_used};
    if (chosen && its >= cost) continue;
    chosen = Place{static_cast<int>(i), shared};
    cost = its;
  }
  if (chosen) take_slot(chosen->slot);
  return chosen;
}

bool SlotBook::take_slot(int slot) {
  if (at(slot).taken) return false;
  at(slot).taken = true;
  at(slot).last_used = ++uses_;
  return true;
}

void SlotBook::give_back(int slot) { at(slot).taken = false; }

bool SlotBook::any_taken() const {
  return std::any_of(slots_.begin(), slots_.end(), [](const Slot& slot) { return slot.taken; });
}

void SlotBook::holds(int slot, std::vector<Token> tokens, Keep keep) {
  note_beginning(at(slot), tokens, keep);
  at(slot).tokens = std::move(tokens);
  at(slot).has_copy = keep == Keep::No;
}

// Of a prompt that goes on where the last one ended, or comes again, nothing is to be learned; nor
// may anything be of one that is not to be kept.
void SlotBook::note_beginning(Slot& slot, std::span<const Token> next, Keep keep) {
  const std::size_t shared = shared_prefix(slot.tokens, next);
  if (keep == Keep::No || shared < domain::kKeptTokensMin) {
    slot.beginning = {};
    return;
  }
  if (shared == slot.tokens.size() || shared == next.size()) return;
  Beginning& known = slot.beginning;
  known.prompts += known.tokens == 0 ? 2 : 1;
  known.tokens = known.tokens == 0 ? shared : std::min(known.tokens, shared);
}

SlotBook::Beginning SlotBook::tell_beginning(int slot) {
  const Beginning told = at(slot).beginning;
  at(slot).beginning.prompts = 0;
  return told.prompts == 0 ? Beginning{} : told;
}

void SlotBook::kept(int slot, std::vector<Token> tokens) {
  at(slot).tokens = std::move(tokens);
  at(slot).has_copy = true;
}

std::vector<int> SlotBook::worth_keeping(std::size_t tokens_min) const {
  std::vector<int> worth;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const Slot& slot = slots_[i];
    if (!slot.taken && !slot.has_copy && slot.tokens.size() >= tokens_min)
      worth.push_back(static_cast<int>(i));
  }
  return worth;
}

}  // namespace glowplug::worker
