#include "gateway/openai_request.h"

#include <algorithm>
#include <array>
#include <span>

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include "domain/errors.h"
#include "domain/limits.h"
#include "gateway/request_fields.h"
#include "gateway/tool_request.h"

namespace glowplug::gateway {
namespace {

namespace json = boost::json;
using std::string_view;

constexpr double kUnbounded = 9e18;

// What chat and completions share; `ignore_eos` is what benchmarks of other engines send.
constexpr string_view kSamplingFields[] = {"temperature",
                                           "top_p",
                                           "n",
                                           "stop",
                                           "presence_penalty",
                                           "frequency_penalty",
                                           "logit_bias",
                                           "logprobs",
                                           "seed",
                                           "stream",
                                           "top_k",
                                           "min_p",
                                           "repeat_penalty",
                                           "grammar",
                                           "json_schema",
                                           "cache_prompt",
                                           "ignore_eos",
                                           "user"};
constexpr string_view kChatFields[] = {
    "messages",        "top_logprobs",        "response_format",      "tools",
    "tool_choice",     "parallel_tool_calls", "chat_template_kwargs", "reasoning_effort",
    "reasoning_format"};
constexpr string_view kCompletionFields[] = {"prompt", "suffix", "echo", "best_of"};
constexpr string_view kEmbeddingFields[] = {"input", "encoding_format", "user"};
constexpr string_view kRerankFields[] = {"query", "documents", "texts", "top_n", "return_text"};
constexpr string_view kResponsesFields[] = {
    "input",       "instructions",        "temperature", "top_p",     "tools",
    "tool_choice", "parallel_tool_calls", "text",        "reasoning", "metadata",
    "stream",      "top_logprobs",        "user"};
constexpr string_view kMessagesFields[] = {"messages", "system",   "stop_sequences", "temperature",
                                           "top_p",    "top_k",    "tools",          "tool_choice",
                                           "thinking", "metadata", "stream"};

using Fields = std::span<const string_view>;

// The fields of a surface: its own, and those it shares.
std::array<Fields, 2> allowed_fields(Surface surface) {
  switch (surface) {
    case Surface::Chat: return {kChatFields, kSamplingFields};
    case Surface::Completions: return {kCompletionFields, kSamplingFields};
    case Surface::Embeddings: return {kEmbeddingFields, {}};
    case Surface::Rerank: return {kRerankFields, {}};
    case Surface::Responses:
    case Surface::InputTokens: return {kResponsesFields, {}};
    case Surface::Messages:
    case Surface::CountTokens: return {kMessagesFields, {}};
  }
  return {};
}

domain::Task task_of(Surface surface) {
  if (surface == Surface::Embeddings) return domain::Task::Embed;
  if (surface == Surface::Rerank) return domain::Task::Rerank;
  return domain::Task::Generate;
}

bool generates(Surface surface) {
  return surface == Surface::Chat || surface == Surface::Completions ||
         surface == Surface::Responses || surface == Surface::Messages;
}

string_view prompt_field(Surface surface) {
  switch (surface) {
    case Surface::Chat:
    case Surface::Messages:
    case Surface::CountTokens: return "messages";
    case Surface::Completions: return "prompt";
    case Surface::Rerank: return "documents";
    default: return "input";
  }
}

Result<void> first_fault(std::initializer_list<Result<void>> checks) {
  for (const Result<void>& check : checks) {
    if (!check) return check;
  }
  return {};
}

Result<void> check_task(Surface surface, const domain::Manifest& manifest) {
  if (manifest.engine.kind == domain::EngineKind::Process || task_of(surface) == manifest.task)
    return {};
  return unsupported("model", "names " + manifest.name + ", whose task is " +
                                  std::string(domain::to_string(manifest.task)) + "; " +
                                  std::string(path_of(surface)) + " needs a function with task " +
                                  std::string(domain::to_string(task_of(surface))) + ".");
}

Result<void> check_sampling(const json::object& request, const domain::Manifest& manifest) {
  const double slots = manifest.slots;
  return first_fault({check_number(request, "temperature", {0, 2}),
                      check_number(request, "top_p", {0, 1}),
                      check_integer(request, "n", {1, slots}),
                      check_number(request, "presence_penalty", {-2, 2}),
                      check_number(request, "frequency_penalty", {-2, 2}),
                      check_integer(request, "max_tokens", {1, kUnbounded}),
                      check_integer(request, "max_completion_tokens", {1, kUnbounded}),
                      check_integer(request, "max_output_tokens", {1, kUnbounded}),
                      check_stop(request, "stop"),
                      check_stop(request, "stop_sequences"),
                      check_integer(request, "seed", {-kUnbounded, kUnbounded}),
                      check_logit_bias(request),
                      check_kind(request, "stream", JsonKind::Bool),
                      check_kind(request, "stream_options", JsonKind::Object),
                      check_kind(request, "metadata", JsonKind::Object),
                      check_integer(request, "top_k", {0, 1e9}),
                      check_number(request, "min_p", {0, 1}),
                      check_number(request, "repeat_penalty", {0, 10}),
                      check_kind(request, "grammar", JsonKind::String),
                      check_kind(request, "chat_template_kwargs", JsonKind::Object),
                      check_kind(request, "cache_prompt", JsonKind::Bool),
                      check_kind(request, "ignore_eos", JsonKind::Bool)});
}

Result<void> check_two_limits(const json::object& request) {
  const std::optional<long> one = integer(request, "max_tokens");
  const std::optional<long> two = integer(request, "max_completion_tokens");
  if (one && two && *one != *two) {
    return invalid("max_tokens", "differs from max_completion_tokens; send one of them.");
  }
  return {};
}

Result<void> check_response_format(const json::object& request) {
  if (Result<void> kind = check_kind(request, "response_format", JsonKind::Object); !kind)
    return kind;
  const json::value* format = field(request, "response_format");
  if (!format) return {};
  const json::value* type = format->as_object().if_contains("type");
  if (!type || !type->is_string()) return invalid("response_format", "needs a type.");
  const string_view name(type->as_string());
  if (name == "json_schema") {
    const json::value* holder = format->as_object().if_contains("json_schema");
    if (!holder || !holder->is_object() || !holder->as_object().contains("schema"))
      return invalid("response_format", "needs json_schema: {name, schema}.");
    return {};
  }
  if (name == "text" || name == "json_object") return {};
  return invalid("response_format", "has an unknown type; use text, json_object or json_schema.");
}

Result<void> check_logprobs(Surface surface, const json::object& request) {
  if (surface == Surface::Completions) return check_integer(request, "logprobs", {0, 20});
  if (surface != Surface::Chat) return {};
  if (Result<void> fault = first_fault({check_kind(request, "logprobs", JsonKind::Bool),
                                        check_integer(request, "top_logprobs", {0, 20})});
      !fault) {
    return fault;
  }
  if (field(request, "top_logprobs") && !flag(request, "logprobs")) {
    return invalid("top_logprobs", "needs logprobs: true.");
  }
  return {};
}

Result<void> check_text_or_list(const json::object& request, string_view name) {
  const json::value* value = field(request, name);
  if (!value) return missing(name, "is required.");
  if (value->is_array() && value->as_array().empty()) return invalid(name, "must not be empty.");
  if (!value->is_string() && !value->is_array())
    return invalid(name, "must be a string or an array.");
  return {};
}

Result<void> check_rerank(const json::object& request) {
  if (!field(request, "query")) return missing("query", "is required.");
  const string_view list =
      field(request, "documents") || !field(request, "texts") ? "documents" : "texts";
  if (!field(request, list)) return missing(list, "is required: an array of texts.");
  return first_fault({check_kind(request, "query", JsonKind::String),
                      check_kind(request, list, JsonKind::Array),
                      check_integer(request, "top_n", {1, kUnbounded})});
}

// An empty text has no embedding; the engine would answer with that of nothing.
Result<void> check_not_empty(string_view name, const json::value& text) {
  const bool empty = (text.is_string() && text.as_string().empty()) ||
                     (text.is_array() && text.as_array().empty());
  if (empty) return invalid(name, "must not be empty, nor may one of its texts.");
  if (text.is_array()) {
    for (const json::value& one : text.as_array())
      if (Result<void> inner = check_not_empty(name, one); !inner) return inner;
  }
  return {};
}

Result<void> check_embeddings(const json::object& request) {
  if (Result<void> input = check_text_or_list(request, "input"); !input) return input;
  if (Result<void> input = check_not_empty("input", *field(request, "input")); !input) return input;
  if (field(request, "dimensions"))
    return unsupported("dimensions", "cannot be chosen for this model; leave it out.");
  if (Result<void> kind = check_kind(request, "encoding_format", JsonKind::String); !kind)
    return kind;
  const json::value* format = field(request, "encoding_format");
  if (format && format->as_string() != "float" && format->as_string() != "base64") {
    return invalid("encoding_format", "must be float or base64.");
  }
  return {};
}

Result<void> check_responses(const json::object& request) {
  if (Result<void> input = check_text_or_list(request, "input"); !input) return input;
  if (Result<void> kind = check_kind(request, "background", JsonKind::Bool); !kind) return kind;
  const json::value* store = field(request, "store");
  if (flag(request, "background") && store && store->is_bool() && !store->as_bool())
    return unsupported("store",
                       "must not be false with background: an answer that is fetched later is "
                       "stored until then. Leave out one of them.");
  if (field(request, "previous_response_id")) {
    return unsupported("previous_response_id",
                       "is not available: a response does not hold its conversation. Send the "
                       "whole input.");
  }
  return check_kind(request, "instructions", JsonKind::String);
}

Result<void> check_prompt(Surface surface, const json::object& request) {
  switch (surface) {
    case Surface::Chat:
      return check_messages(request, "messages",
                            {"system", "developer", "user", "assistant", "tool", "function"});
    case Surface::Messages:
      if (!field(request, "max_tokens")) return missing("max_tokens", "is required.");
      [[fallthrough]];
    case Surface::CountTokens:
      return check_messages(request, "messages", {"user", "assistant", "system"});
    case Surface::Completions: return check_text_or_list(request, "prompt");
    case Surface::Embeddings: return check_embeddings(request);
    case Surface::Rerank: return check_rerank(request);
    case Surface::Responses:
    case Surface::InputTokens: return check_responses(request);
  }
  return {};
}

Result<void> check_length(Surface surface, const json::object& request,
                          const domain::Manifest& manifest) {
  if (!generates(surface) || manifest.engine.kind == domain::EngineKind::Process) return {};
  const json::value* prompt = field(request, prompt_field(surface));
  std::size_t bytes = prompt ? text_bytes(*prompt) : 0;
  for (const string_view extra : {"system", "instructions"}) {
    if (const json::value* text = field(request, extra)) bytes += text_bytes(*text);
  }
  std::size_t tokens = 0;
  if (prompt && prompt->is_array() && !prompt->as_array().empty() &&
      prompt->as_array()[0].is_number()) {
    tokens = prompt->as_array().size();
  }
  const auto context = static_cast<std::size_t>(manifest.context);
  if (bytes <= context * domain::kPromptBytesPerToken && tokens <= context) return {};
  return Error{std::string(domain::error::kContextLengthExceeded),
               "This model's maximum context length is " + std::to_string(context) +
                   " tokens, and a prompt of " +
                   (tokens > context ? std::to_string(tokens) + " tokens"
                                     : std::to_string(bytes) + " bytes") +
                   " cannot fit. Shorten it or raise context in the manifest.",
               std::string(prompt_field(surface))};
}

string_view limit_field(Surface surface) {
  return surface == Surface::Responses ? "max_output_tokens" : "max_tokens";
}

}  // namespace

std::string_view path_of(Surface surface) {
  switch (surface) {
    case Surface::Chat: return "/v1/chat/completions";
    case Surface::Completions: return "/v1/completions";
    case Surface::Embeddings: return "/v1/embeddings";
    case Surface::Rerank: return "/v1/rerank";
    case Surface::Responses: return "/v1/responses";
    case Surface::InputTokens: return "/v1/responses/input_tokens";
    case Surface::Messages: return "/v1/messages";
    case Surface::CountTokens: return "/v1/messages/count_tokens";
  }
  return "/";
}

Result<std::string> read_model(const json::object& request) {
  const json::value* model = field(request, "model");
  if (!model) return missing("model", "is required: the name of a function.");
  if (!model->is_string()) return invalid("model", "must be a string.");
  return std::string(model->as_string());
}

Result<RequestShape> check_request(Surface surface, const json::object& request,
                                   const domain::Manifest& manifest) {
  for (const Result<void>& check :
       {check_task(surface, manifest), check_sampling(request, manifest), check_two_limits(request),
        check_response_format(request), check_logprobs(surface, request),
        check_prompt(surface, request), check_length(surface, request, manifest)}) {
    if (!check) return check.error();
  }
  RequestShape shape;
  shape.stream = generates(surface) && flag(request, "stream");
  shape.background = surface == Surface::Responses && flag(request, "background");
  shape.choices = static_cast<int>(integer(request, "n").value_or(1));
  if (const json::value* options = field(request, "stream_options")) {
    if (Result<void> kind = check_kind(options->as_object(), "include_usage", JsonKind::Bool);
        !kind) {
      return invalid("stream_options.include_usage", "must be true or false.");
    }
    shape.include_usage = flag(options->as_object(), "include_usage");
  }
  if (manifest.engine.kind != domain::EngineKind::Process) {
    if (Result<void> tools = check_tools(surface, request); !tools) return tools.error();
  }
  if (const json::value* tools = field(request, "tools"); tools && tools->is_array())
    shape.uses_tools = !tools->as_array().empty();
  Result<std::optional<Duration>> keep_alive = read_keep_alive(request);
  if (!keep_alive) return keep_alive.error();
  shape.keep_alive = keep_alive.value();
  if (const json::value* salt = field(request, "cache_salt")) {
    const bool fits = salt->is_string() && !salt->as_string().empty() &&
                      salt->as_string().size() <= domain::kCacheSaltBytesMax;
    if (!fits)
      return invalid("cache_salt", "must be a string of 1 to " +
                                       std::to_string(domain::kCacheSaltBytesMax) + " bytes.");
    shape.cache_salt = salt->as_string();
  }
  if (Result<void> kind = check_kind(request, "store", JsonKind::Bool); !kind) return kind.error();
  return shape;
}

std::string forward_body(Surface surface, const json::object& request,
                         const domain::Manifest& manifest, const RequestShape& shape) {
  json::object body;
  body["model"] = manifest.name;
  for (const Fields fields : allowed_fields(surface)) {
    for (const string_view name : fields)
      if (const json::value* value = field(request, name)) body[name] = *value;
  }
  if (generates(surface)) {
    std::optional<long> wanted = integer(request, limit_field(surface));
    if (!wanted) wanted = integer(request, "max_completion_tokens");
    const long limit = manifest.limits.max_tokens;
    body[limit_field(surface)] =
        std::min(wanted.value_or(std::min<long>(limit, manifest.context)), limit);
  }
  // A prompt that is not to be stored leaves no copy of its state either.
  if (const json::value* store = field(request, "store"); store && !store->as_bool())
    body["store"] = false;
  if (manifest.engine.kind == domain::EngineKind::Process && !shape.cache_salt.empty())
    body["cache_salt"] = shape.cache_salt;
  if (shape.stream && (surface == Surface::Chat || surface == Surface::Completions)) {
    body["stream_options"] = json::object{{"include_usage", true}};
  }
  return json::serialize(body);
}

}  // namespace glowplug::gateway
