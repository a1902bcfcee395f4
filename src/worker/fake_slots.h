// What the fake engine's slots hold: a token for each word of a prompt, saved and restored in the
// form of the real engine's files, so that everything around prompt states is tested without one.
//
// Thread: any.
#pragma once

#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "worker/prompt_memory.h"
#include "worker/template_loop.h"

namespace glowplug::worker {

[[nodiscard]] std::vector<Token> word_tokens(std::string_view text);

class FakeSlots final : public SlotStates {
 public:
  explicit FakeSlots(int slots) : slots_(static_cast<std::size_t>(slots)) {}

  std::optional<std::vector<Token>> save(int slot, int fd,
                                         std::chrono::milliseconds limit) override;
  bool restore(int slot, int fd) override;

  // How many of the prompt's tokens the slot held; it holds these now.
  std::size_t compute(int slot, const std::vector<Token>& prompt);

 private:
  std::mutex mutex_;
  std::vector<std::vector<Token>> slots_;
};

// As a template of the real engine does: each slot holds one of the texts. Errors: one that is no
// shorter than the context.
[[nodiscard]] Result<void> prime_fake_slots(const std::vector<Prime>& primes, int context,
                                            int count, FakeSlots& slots, PromptMemory& memory);

}  // namespace glowplug::worker
