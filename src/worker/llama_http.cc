#include "worker/llama_http.h"

#include <cctype>
#include <condition_variable>
#include <mutex>
#include <unistd.h>
#include <utility>

#include "chat.h"
#include "server-common.h"

namespace glowplug::worker {
namespace {

// Keys the core's resumable streams, which would keep decoding for a client that has gone.
constexpr const char* kConversationHeader = "x-conversation-id";

server_http_res_ptr error_reply(const std::string& message, error_type type) {
  auto reply = std::make_unique<server_http_res>();
  const json body = format_error_response(message, type);
  reply->status = json_value(body, "code", 500);
  reply->data = safe_json_to_str({{"error", body}});
  return reply;
}

bool same_header(const std::string& left, const char* lower_case) {
  std::size_t i = 0;
  for (; i < left.size() && lower_case[i]; ++i) {
    if (std::tolower(static_cast<unsigned char>(left[i])) != lower_case[i]) return false;
  }
  return i == left.size() && !lower_case[i];
}

std::optional<Dialect> dialect_of(PromptForm form) {
  switch (form) {
    case PromptForm::Text: return std::nullopt;
    case PromptForm::Chat: return Dialect::kChat;
    case PromptForm::Responses: return Dialect::kResponses;
    case PromptForm::Messages: return Dialect::kMessages;
  }
  return std::nullopt;
}

// More than one choice takes more than one slot, which the engine finds itself.
bool wants_choices(const std::string& body) {
  if (body.find("\"n\":") == std::string::npos) return false;
  try {
    return json_value(json::parse(body), "n", 1) > 1;
  } catch (const std::exception&) { return true; }
}

}  // namespace

class LlamaHttp::Running final {
 public:
  // False once the worker is stopping.
  bool enter() {
    const std::lock_guard lock(mutex_);
    if (stopping_) return false;
    ++count_;
    return true;
  }
  void leave() {
    const std::lock_guard lock(mutex_);
    if (--count_ == 0) idle_.notify_all();
  }
  void stop_and_wait(std::chrono::milliseconds limit) {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    idle_.wait_for(lock, limit, [this] { return count_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable idle_;
  int count_ = 0;
  bool stopping_ = false;
};

LlamaHttp::LlamaHttp(const common_params& params, server_context& engine,
                     const LlamaPrompts& prompts, PromptMemory& memory)
    : params_(params),
      engine_(engine),
      prompts_(prompts),
      memory_(memory),
      running_(std::make_shared<Running>()),
      routes_(params, engine) {
  routes_.update_meta(engine);
}

LlamaHttp::~LlamaHttp() = default;

server_http_context::handler_t LlamaHttp::guarded(server_http_context::handler_t handler) {
  return [handler = std::move(handler),
          running = running_](const server_http_req& request) -> server_http_res_ptr {
    if (!running->enter()) return error_reply("the replica is stopping", ERROR_TYPE_UNAVAILABLE);
    // Released when the reply is complete: here for a whole body, with the last copy of next for a
    // stream.
    const std::shared_ptr<void> inside(nullptr, [running](void*) { running->leave(); });
    try {
      for (const auto& [name, value] : request.headers) {
        if (same_header(name, kConversationHeader)) {
          return error_reply("X-Conversation-Id is not supported", ERROR_TYPE_INVALID_REQUEST);
        }
      }
      server_http_res_ptr reply = handler(request);
      if (reply && reply->is_stream()) {
        reply->next = [next = std::move(reply->next), inside](std::string& chunk) {
          return next(chunk);
        };
      }
      return reply;
    } catch (const std::invalid_argument& failure) {
      return error_reply(failure.what(), ERROR_TYPE_INVALID_REQUEST);
    } catch (const std::exception& failure) {
      return error_reply(failure.what(), ERROR_TYPE_SERVER);
    }
  };
}

// The text that opens a tool call in this model's chat template: what the engine would wait for
// before it applies its grammar to a call that the model is free to make. Found once, at the first
// request that needs it.
const std::string& LlamaHttp::call_opening() {
  std::call_once(opening_once_, [this] {
    const auto templates = common_chat_templates_init(llama_get_model(engine_.get_llama_context()),
                                                      params_.chat_template);
    common_chat_templates_inputs inputs;
    inputs.messages.push_back({});
    inputs.messages.back().role = "user";
    inputs.messages.back().content = "-";
    inputs.tools.push_back({"f", "f", R"({"type":"object","properties":{}})"});
    try {
      for (const auto& trigger :
           common_chat_templates_apply(templates.get(), inputs).grammar_triggers) {
        if (trigger.type != COMMON_GRAMMAR_TRIGGER_TYPE_WORD) continue;
        opening_ = trigger.value;
        break;
      }
    } catch (const std::exception&) {  // no such text: the request itself says what is wrong
    }
  });
  return opening_;
}

server_http_context::handler_t LlamaHttp::generating(PromptForm form,
                                                     server_http_context::handler_t handler) {
  return guarded([this, form, handler = std::move(handler)](const server_http_req& request) {
    // Owners: this call, and a stream's next, which refers to it.
    const auto changed = std::make_shared<server_http_req>(request);
    const auto dialect = dialect_of(form);
    if (dialect && changed->body.find("\"tools\"") != std::string::npos) {
      if (auto forced = force_tool_call(*dialect, changed->body, call_opening()))
        changed->body = *std::move(forced);
    }
    const auto placed = std::make_shared<PromptMemory::Placed>(place(form, *changed));
    server_http_res_ptr reply = handler(*changed);
    if (reply && reply->status == 200) placed->computed();  // a stream begins with its first token
    if (reply && placed->restored_in().count() > 0)
      reply->headers[kRestoredHeader] = std::to_string(placed->restored_in().count());
    if (reply && reply->is_stream()) {
      reply->next = [next = std::move(reply->next), changed, placed](std::string& chunk) {
        return next(chunk);
      };
    }
    return reply;
  });
}

// The request says from here on which slot is to answer it.
PromptMemory::Placed LlamaHttp::place(PromptForm form, server_http_req& request) {
  const auto keep = request.body.find("\"store\":false") == std::string::npos ? SlotBook::Keep::Yes
                                                                              : SlotBook::Keep::No;
  std::vector<Token> tokens;
  if (!wants_choices(request.body)) tokens = prompts_.tokens(form, request.body);
  PromptMemory::Placed placed;
  if (!tokens.empty()) placed = memory_.place(std::move(tokens), keep);
  const bool afresh = placed.slot() < 0 ? memory_.leave_to_engine(keep) : placed.afresh();
  std::string fields;
  if (placed.slot() >= 0) fields += "\"id_slot\":" + std::to_string(placed.slot()) + ",";
  if (afresh) fields += "\"cache_prompt\":false,";
  if (request.body.starts_with('{')) request.body.insert(1, fields);
  return placed;
}

void LlamaHttp::add_routes() {
  http_.get("/health", guarded(routes_.get_health));
  http_.get("/props", guarded(routes_.get_props));
  http_.post("/v1/chat/completions", generating(PromptForm::Chat, routes_.post_chat_completions));
  http_.post("/v1/completions", generating(PromptForm::Text, routes_.post_completions_oai));
  http_.post("/v1/embeddings", guarded(routes_.post_embeddings_oai));
  http_.post("/v1/rerank", guarded(routes_.post_rerank));
  http_.post("/v1/responses", generating(PromptForm::Responses, routes_.post_responses_oai));
  http_.post("/v1/responses/input_tokens", guarded(routes_.post_responses_tok_oai));
  http_.post("/v1/messages", generating(PromptForm::Messages, routes_.post_anthropic_messages));
  http_.post("/v1/messages/count_tokens", guarded(routes_.post_anthropic_count_tokens));
  http_.post("/tokenize", guarded(routes_.post_tokenize));
  http_.post("/detokenize", guarded(routes_.post_detokenize));
  http_.post("/apply-template", guarded(routes_.post_apply_template));
}

bool LlamaHttp::start() {
  const std::string& path = params_.hostnames.front();
  ::unlink(path.c_str());  // left by a replica that died
  if (!http_.init(params_)) return false;
  add_routes();
  if (!http_.start()) return false;
  http_.is_ready.store(true);
  return true;
}

void LlamaHttp::finish(std::chrono::milliseconds limit) {
  ::unlink(params_.hostnames.front().c_str());
  running_->stop_and_wait(limit);
  http_.stop();
}

void LlamaHttp::join() { http_.join(); }

}  // namespace glowplug::worker
