#include "worker/llama_slots.h"

#include <cstdio>
#include <fcntl.h>
#include <functional>
#include <unistd.h>
#include <utility>

#include "llama.h"
#include "server-chat.h"
#include "server-common.h"
#include "worker/llama_windows.h"

namespace glowplug::worker {
namespace {

// A memory file of the server's, which has no other name.
std::string path_of(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

enum class Outcome { Done, Failed, Late };

Outcome run_task(server_context& engine, server_task_type type, int slot, int fd,
                 const std::function<bool()>& gives_up) {
  server_response_reader reader = engine.get_response_reader();
  server_task task(type);
  task.id = reader.get_new_id();
  task.slot_action.id_slot = slot;
  task.slot_action.filename = "state";
  task.slot_action.filepath = path_of(fd);
  reader.post_task(std::move(task));
  const server_task_result_ptr result = reader.next(gives_up);
  if (result && !result->is_error()) return Outcome::Done;
  std::fprintf(stderr, "a prompt state is not %s: %s\n",
               type == SERVER_TASK_TYPE_SLOT_SAVE ? "saved" : "restored",
               result ? safe_json_to_str(result->to_json()).c_str() : "the engine is too late");
  return result ? Outcome::Failed : Outcome::Late;
}

// The file begins with a mark, a version and the core's own list of tokens.
std::optional<std::vector<Token>> tokens_in(int fd) {
  std::uint32_t head[3];
  if (::pread(fd, head, sizeof head, 0) != sizeof head || head[0] != LLAMA_STATE_SEQ_MAGIC)
    return std::nullopt;
  llama_tokens packed(head[2]);
  const auto bytes = static_cast<ssize_t>(packed.size() * sizeof(llama_token));
  if (::pread(fd, packed.data(), static_cast<std::size_t>(bytes), sizeof head) != bytes)
    return std::nullopt;
  return server_tokens::deserialize(packed, false).get_text_tokens();
}

}  // namespace

// The engine opens the file by its number, and late where a call of its own choice holds the slot:
// the number stays taken until a later save says that the engine is past it.
std::optional<std::vector<Token>> LlamaSlots::save(int slot, int fd,
                                                   std::chrono::milliseconds limit) {
  const auto until = std::chrono::steady_clock::now() + limit;
  UniqueFd file(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!file.valid()) return std::nullopt;
  const Outcome outcome = run_task(engine_, SERVER_TASK_TYPE_SLOT_SAVE, slot, file.get(),
                                   [until] { return std::chrono::steady_clock::now() >= until; });
  const std::lock_guard lock(mutex_);
  if (outcome == Outcome::Late) late_.push_back(std::move(file));
  if (outcome != Outcome::Done) return std::nullopt;
  late_.clear();
  return tokens_in(fd);
}

bool LlamaSlots::restore(int slot, int fd) {
  return run_task(engine_, SERVER_TASK_TYPE_SLOT_RESTORE, slot, fd, [] { return false; }) ==
         Outcome::Done;
}

json LlamaPrompts::chat_prompt(json body) const {
  std::vector<raw_buffer> files;
  json prompt = oaicompat_chat_params_parse(body, meta_.chat_params, files).at("prompt");
  return files.empty() ? std::move(prompt) : json();
}

json LlamaPrompts::prompt_of(PromptForm form, const std::string& body) const {
  json request = json::parse(body);
  switch (form) {
    case PromptForm::Text: return request.at("prompt");
    case PromptForm::Chat: return chat_prompt(std::move(request));
    case PromptForm::Responses:
      return chat_prompt(server_chat_convert_responses_to_chatcmpl(request));
    case PromptForm::Messages: return chat_prompt(server_chat_convert_anthropic_to_oai(request));
  }
  return {};
}

std::vector<Token> LlamaPrompts::tokens(PromptForm form, const std::string& body) const {
  try {
    json prompt = prompt_of(form, body);
    const bool is_list = prompt.is_array() && !prompt.empty() && !prompt.front().is_number();
    if (is_list && prompt.size() > 1) return {};
    if (is_list) prompt = json(prompt.front());
    if (!prompt.is_string() && !prompt.is_array()) return {};
    return tokenize_mixed(llama_model_get_vocab(&model_), prompt, true, true);
  } catch (const std::exception&) { return {}; }
}

std::vector<Token> LlamaPrompts::system_tokens(const std::string& text) const {
  const auto as_chat = [this, &text](const char* user) {
    const json body{{"messages", json::array({json{{"role", "system"}, {"content", text}},
                                              json{{"role", "user"}, {"content", user}}})}};
    return tokens(PromptForm::Chat, body.dump());
  };
  if (llama_model_chat_template(&model_, nullptr) != nullptr) {
    std::vector<Token> one = as_chat("a");
    one.resize(shared_prefix(one, as_chat("1")));
    if (!one.empty()) return one;  // else the template takes no system message
  }
  return tokens(PromptForm::Text, json{{"prompt", text}}.dump());
}

StateKind states_of(const server_context& engine) {
  const llama_model* model = llama_get_model(engine.get_llama_context());
  if (llama_model_is_recurrent(model) || llama_model_is_hybrid(model)) return StateKind::whole();
  if (has_whole_windows(engine.get_llama_context())) return StateKind::may_be_cut();
  // Of the pinned engine's models these are dots3note's alone.
  const std::int32_t window = llama_model_n_swa(model);
  return window > 0 ? StateKind::window(static_cast<std::size_t>(window)) : StateKind::may_be_cut();
}

}  // namespace glowplug::worker
