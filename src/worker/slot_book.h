// Which slot answers which prompt: the worker knows what tokens each of its engine's slots holds,
// and sends a prompt where most of it is there already at the least loss of what others left.
//
// Thread: none of its own; whoever owns it locks. Pure: no engine, no clock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace glowplug::worker {

using Token = std::int32_t;

// Fewer tokens in common are not worth a copy, nor a conversation.
inline constexpr std::size_t kWorthSharing = 32;

// How many tokens two sequences begin with in common.
[[nodiscard]] std::size_t shared_prefix(std::span<const Token> a, std::span<const Token> b);

class SlotBook final {
 public:
  // `cuts`: a slot can be cut back to what a prompt shares with it.
  explicit SlotBook(int slots, bool cuts = true)
      : slots_(static_cast<std::size_t>(slots)), cuts_(cuts) {}

  struct Place {
    int slot = 0;
    std::size_t shared = 0;  // tokens at the prompt's beginning that the slot holds
  };
  // A free slot, taken until give_back(); nothing when all are taken.
  std::optional<Place> take(std::span<const Token> prompt);
  // The most that take() could find shared.
  [[nodiscard]] std::size_t best_shared(std::span<const Token> prompt) const;
  // Exactly this one; false when it is taken.
  bool take_slot(int slot);
  void give_back(int slot);
  [[nodiscard]] bool any_taken() const;

  enum class Keep { Yes, No };
  // What it holds from now on; No: no copy of it may be made.
  void holds(int slot, std::vector<Token> tokens, Keep keep);
  void kept(int slot, std::vector<Token> tokens);  // it holds these, and a copy was made
  [[nodiscard]] bool is_kept(int slot) const { return at(slot).has_copy; }  // or need not be

  // What prompts that came into the slot one after the other begin with in common.
  struct Beginning {
    std::size_t tokens = 0;   // 0: nothing worth a word
    std::size_t prompts = 0;  // since it was last told
  };
  [[nodiscard]] Beginning tell_beginning(int slot);
  // Free slots with at least so many tokens of which no copy was made yet.
  [[nodiscard]] std::vector<int> worth_keeping(std::size_t tokens_min) const;
  [[nodiscard]] std::span<const Token> tokens(int slot) const { return at(slot).tokens; }
  [[nodiscard]] int size() const { return static_cast<int>(slots_.size()); }

 private:
  struct Slot {
    std::vector<Token> tokens;
    std::uint64_t last_used = 0;
    bool taken = false;
    bool has_copy = true;  // an empty one needs none
    Beginning beginning;
  };
  static void note_beginning(Slot& slot, std::span<const Token> next, Keep keep);
  Slot& at(int slot) { return slots_.at(static_cast<std::size_t>(slot)); }
  const Slot& at(int slot) const { return slots_.at(static_cast<std::size_t>(slot)); }

  std::vector<Slot> slots_;
  bool cuts_;
  std::uint64_t uses_ = 0;
};

}  // namespace glowplug::worker
