// The engine's slots as prompt states: saved to and restored from memory files by the core's own
// tasks, and the tokens that a request's prompt becomes.
//
// Thread: any but the engine's loop, which must run while a state is saved or restored. A request
// whose prompt cannot be read has no tokens; its own handler says what is wrong with it.
#pragma once

#include <chrono>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "llama.h"
#include "server-context.h"
#include "worker/prompt_memory.h"

namespace glowplug::worker {

class LlamaSlots final : public SlotStates {
 public:
  explicit LlamaSlots(server_context& engine) : engine_(engine) {}  // outlives this object

  // The limit is looked at once a second.
  std::optional<std::vector<Token>> save(int slot, int fd,
                                         std::chrono::milliseconds limit) override;
  bool restore(int slot, int fd) override;

 private:
  server_context& engine_;
  std::mutex mutex_;
  std::vector<UniqueFd> late_;  // files that the engine may still open by their number
};

// The four ways in which a prompt comes.
enum class PromptForm { Text, Chat, Responses, Messages };

// Turns requests into the tokens that the engine will make of them. Made once the model is there; a
// fork goes on with its template's.
class LlamaPrompts final {
 public:
  explicit LlamaPrompts(const server_context& engine)
      : model_(*llama_get_model(engine.get_llama_context())), meta_(engine.get_meta()) {}

  // Empty when it has none, several, or one that only its handler can read.
  std::vector<Token> tokens(PromptForm form, const std::string& body) const;

  // What every prompt with this text as its system message begins with; with a model that has no
  // chat template, the text itself.
  std::vector<Token> system_tokens(const std::string& text) const;

 private:
  json prompt_of(PromptForm form, const std::string& body) const;
  json chat_prompt(json body) const;

  const llama_model& model_;
  const server_context_meta meta_;
};

// Whether a state can be cut back to the part that a prompt shares with it.
[[nodiscard]] StateKind states_of(const server_context& engine);

}  // namespace glowplug::worker
