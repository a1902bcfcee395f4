#include "gateway/event_stream.h"

#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "domain/limits.h"

namespace glowplug::gateway {
namespace {

namespace json = boost::json;

std::uint64_t count(const json::object& usage, std::string_view name) {
  const json::value* value = usage.if_contains(name);
  return value && value->is_int64() && value->as_int64() > 0
             ? static_cast<std::uint64_t>(value->as_int64())
             : 0;
}

// Both vocabularies: OpenAI's prompt/completion and the input/output of Responses and Messages.
void read_usage(const json::object& holder, Usage& usage) {
  const json::value* value = holder.if_contains("usage");
  if (!value || !value->is_object()) return;
  const json::object& object = value->as_object();
  const std::uint64_t prompt =
      std::max(count(object, "prompt_tokens"), count(object, "input_tokens"));
  const std::uint64_t completion =
      std::max(count(object, "completion_tokens"), count(object, "output_tokens"));
  std::uint64_t cached = count(object, "cache_read_input_tokens");
  for (const std::string_view name : {"prompt_tokens_details", "input_tokens_details"}) {
    const json::value* details = object.if_contains(name);
    if (details && details->is_object())
      cached = std::max(cached, count(details->as_object(), "cached_tokens"));
  }
  usage.cached_tokens = std::max(usage.cached_tokens, cached);
  usage.prompt_tokens = std::max(usage.prompt_tokens, prompt);
  usage.completion_tokens = std::max(usage.completion_tokens, completion);
}

std::optional<Duration> milliseconds(const json::object& timings, std::string_view name) {
  const json::value* value = timings.if_contains(name);
  boost::system::error_code ec;
  const double ms = value && value->is_number() ? value->to_number<double>(ec) : -1;
  if (ms < 0 || ms > 1e9) return std::nullopt;
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double, std::milli>(ms));
}

// The engine's own clock on the request; it is not passed on.
void take_timings(json::object& holder, Usage& usage) {
  const json::value* value = holder.if_contains("timings");
  if (!value) return;
  if (value->is_object()) {
    usage.prefill = milliseconds(value->as_object(), "prompt_ms");
    usage.decode = milliseconds(value->as_object(), "predicted_ms");
  }
  holder.erase("timings");
}

void rename(json::object& object, const std::string& model) {
  if (json::value* value = object.if_contains("model"); value && value->is_string()) *value = model;
}

void append_data(std::string& out, std::string_view name, std::string_view data) {
  if (!name.empty()) out.append("event: ").append(name).append("\n");
  out.append("data: ").append(data).append("\n\n");
}

}  // namespace

bool EventStream::named_events() const {
  return options_.surface == Surface::Responses || options_.surface == Surface::Messages;
}

std::string EventStream::feed(std::string_view bytes) {
  std::string out;
  pending_.append(bytes);
  std::size_t start = 0;
  while (!engine_error_ && !complete_) {
    // Events end at an empty line; engines write \n, and \r\n is read as well.
    std::size_t end = pending_.find("\n\n", start);
    std::size_t skip = 2;
    const std::size_t crlf = pending_.find("\r\n\r\n", start);
    if (crlf < end) {
      end = crlf;
      skip = 4;
    }
    if (end == std::string::npos) break;
    take_event(std::string_view(pending_).substr(start, end - start), out);
    start = end + skip;
  }
  pending_.erase(0, start);
  if (pending_.size() > domain::kStreamBufferBytesMax) {
    engine_error_ =
        R"({"error":{"message":"An event of the replica is larger than the stream buffer."}})";
    pending_.clear();
  }
  return out;
}

namespace {

// Chat streams open with a chunk that only names the role; all else belongs to the answer.
bool only_names_the_role(const json::object& chunk) {
  const json::value* choices = chunk.if_contains("choices");
  if (!choices || !choices->is_array() || choices->as_array().empty()) return false;
  for (const json::value& choice : choices->as_array()) {
    const json::value* delta =
        choice.is_object() ? choice.as_object().if_contains("delta") : nullptr;
    if (!delta || !delta->is_object()) return false;
    for (const auto& [key, value] : delta->as_object()) {
      const bool says_something = !value.is_null() && value != json::value("");
      if (key != "role" && says_something) return false;
    }
    const json::value* reason = choice.as_object().if_contains("finish_reason");
    if (reason && !reason->is_null()) return false;
  }
  return true;
}

// Of the choices of a chunk, those that add to their text, in whatever field of the delta.
std::uint64_t pieces_of(const json::object& chunk) {
  const json::value* choices = chunk.if_contains("choices");
  if (!choices || !choices->is_array()) return 0;
  std::uint64_t pieces = 0;
  for (const json::value& choice : choices->as_array()) {
    if (!choice.is_object()) continue;
    const json::object& object = choice.as_object();
    const json::value* text = object.if_contains("text");
    bool adds = text && text->is_string() && !text->as_string().empty();
    if (const json::value* delta = object.if_contains("delta"); delta && delta->is_object())
      for (const auto& [key, value] : delta->as_object())
        adds = adds || (key != "role" && !value.is_null() && value != json::value(""));
    pieces += adds ? 1 : 0;
  }
  return pieces;
}

}  // namespace

Usage EventStream::usage() const {
  Usage usage = usage_;
  if (!complete_) usage.completion_tokens = handed_over_;
  return usage;
}

void EventStream::take_event(std::string_view event, std::string& out) {
  std::string_view name;
  std::string joined;
  std::string_view data;
  bool has_data = false;
  while (!event.empty()) {
    const std::size_t end = std::min(event.find('\n'), event.size());
    std::string_view line = event.substr(0, end);
    event.remove_prefix(std::min(end + 1, event.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.starts_with(':')) {
      out.append(line).append("\n\n");
      continue;
    }
    const std::size_t colon = std::min(line.find(':'), line.size());
    const std::string_view key = line.substr(0, colon);
    std::string_view value = line.substr(std::min(colon + 1, line.size()));
    if (value.starts_with(' ')) value.remove_prefix(1);
    if (key == "event") name = value;
    if (key == "error") engine_error_ = std::string(value);
    if (key != "data") continue;
    if (has_data) {
      joined = std::string(data) + "\n" + std::string(value);
      data = joined;
    } else {
      data = value;
    }
    has_data = true;
  }
  if (has_data && !engine_error_) take_data(name, data, out);
}

void EventStream::take_data(std::string_view name, std::string_view data, std::string& out) {
  if (data == "[DONE]") {
    if (named_events()) {
      complete_ = true;
      return;
    }
    finish_openai(out);
    return;
  }
  boost::system::error_code ec;
  json::value value = json::parse(data, ec);
  if (ec || !value.is_object()) {
    engine_error_ = R"({"error":{"message":"The replica sent an event that is not JSON."}})";
    return;
  }
  json::object& chunk = value.as_object();
  if (chunk.contains("error") && !chunk["error"].is_null()) {
    if (!named_events() || name == "error" || name.empty()) {
      engine_error_ = std::string(data);
      return;
    }
  }
  rename(chunk, options_.model);
  take_timings(chunk, usage_);
  read_usage(chunk, usage_);
  const bool opening = named_events() ? name != "content_block_delta" && !name.ends_with(".delta")
                                      : only_names_the_role(chunk);
  began_ = began_ || !opening;
  pieces_ += named_events() ? (opening ? 0 : 1) : pieces_of(chunk);
  if (options_.surface == Surface::Chat) name_roles(chunk);
  if (options_.surface == Surface::Messages) start_message(name, out);
  if (named_events()) {
    for (const std::string_view holder : {"response", "message"}) {
      if (json::value* inner = chunk.if_contains(holder); inner && inner->is_object()) {
        rename(inner->as_object(), options_.model);
        read_usage(inner->as_object(), usage_);
      }
    }
    append_data(out, name, json::serialize(chunk));
    const std::string_view kind = name;
    if (kind == "message_stop" || kind == "response.completed" || kind == "response.incomplete" ||
        kind == "response.failed") {
      complete_ = true;
    }
    return;
  }
  const json::value* choices = chunk.if_contains("choices");
  const bool empty = choices && choices->is_array() && choices->as_array().empty();
  const bool has_usage = chunk.contains("usage") && chunk["usage"].is_object();
  if (empty && has_usage) {
    usage_sent_ = true;
    if (options_.include_usage) append_usage(std::move(chunk), out);
    return;
  }
  if (options_.include_usage) {
    chunk["usage"] = nullptr;
    if (last_head_.empty()) {
      json::object head = chunk;
      head["choices"] = json::array();
      head.erase("usage");
      last_head_ = json::serialize(head);
    }
  } else {
    chunk.erase("usage");
  }
  append_data(out, name, json::serialize(chunk));
}

// The engine names the role and starts the message with its first token, and loses both when that
// token is only the beginning of a character (the first byte of an emoji): then they are said here.
void EventStream::name_roles(json::object& chunk) {
  json::value* choices = chunk.if_contains("choices");
  if (!choices || !choices->is_array()) return;
  for (json::value& choice : choices->as_array()) {
    if (!choice.is_object()) continue;
    const json::value* index = choice.as_object().if_contains("index");
    json::value* delta = choice.as_object().if_contains("delta");
    if (!index || !index->is_int64() || !delta || !delta->is_object()) continue;
    if (roles_named_.insert(index->as_int64()).second && !delta->as_object().contains("role"))
      delta->as_object()["role"] = "assistant";
  }
}

void EventStream::start_message(std::string_view name, std::string& out) {
  if (message_started_ || name == "ping" || name == "error") return;
  message_started_ = true;
  if (name == "message_start") return;
  const json::object usage{{"input_tokens", usage_.prompt_tokens}, {"output_tokens", 0}};
  const json::object message{{"id", options_.id},        {"type", "message"},
                             {"role", "assistant"},      {"content", json::array()},
                             {"model", options_.model},  {"stop_reason", nullptr},
                             {"stop_sequence", nullptr}, {"usage", usage}};
  append_data(out, "message_start",
              json::serialize(json::object{{"type", "message_start"}, {"message", message}}));
}

// The phases that were not known yet when the header went are told beside the usage.
void EventStream::append_usage(json::object chunk, std::string& out) {
  domain::PhaseTimes times = options_.waited;
  times[domain::Phase::Prefill] = usage_.prefill;
  times[domain::Phase::Decode] = usage_.decode;
  json::object phases;
  times.each([&phases](std::string_view name, Duration took) { phases[name] = to_ms(took); });
  json::object ours{{"phases_ms", std::move(phases)}};
  if (options_.cost) ours["cost"] = options_.cost();
  chunk["glowplug"] = std::move(ours);
  append_data(out, "", json::serialize(chunk));
}

void EventStream::finish_openai(std::string& out) {
  if (options_.include_usage && !usage_sent_ && !last_head_.empty()) {
    boost::system::error_code ec;
    json::value head = json::parse(last_head_, ec);
    json::object usage;
    usage["prompt_tokens"] = usage_.prompt_tokens;
    usage["completion_tokens"] = usage_.completion_tokens;
    usage["total_tokens"] = usage_.prompt_tokens + usage_.completion_tokens;
    head.as_object()["usage"] = std::move(usage);
    append_usage(std::move(head.as_object()), out);
  }
  out.append("data: [DONE]\n\n");
  complete_ = true;
}

std::string rewrite_answer(std::string_view body, const std::string& model, Usage& usage) {
  boost::system::error_code ec;
  json::value value = json::parse(body, ec);
  if (ec || !value.is_object()) return std::string(body);
  json::object& object = value.as_object();
  rename(object, model);
  take_timings(object, usage);
  read_usage(object, usage);
  return json::serialize(object);
}

}  // namespace glowplug::gateway
