#include "gateway/response_json.h"

#include <utility>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include "gateway/job_json.h"
#include "gateway/json_text.h"
#include "gateway/request_fields.h"

namespace glowplug::gateway {
namespace {

namespace json = boost::json;
using domain::JobState;
using storage::JobView;

constexpr std::string_view kJobPrefix = "job_";
constexpr std::string_view kResponsePrefix = "resp_";
constexpr std::int64_t kFirstOfAnswer = 3;

// A response does not expire: one whose time is over has failed.
std::string_view status_of(JobState state) {
  return state == JobState::Expired ? domain::to_string(JobState::Failed)
                                    : domain::to_string(state);
}

// Every field that clients may read before there is an answer.
json::object of_request(const JobView& view, const json::object& request) {
  json::object object{{"id", response_id(view.id)},
                      {"object", "response"},
                      {"created_at", unix_seconds_or_null(view.created)},
                      {"background", true},
                      {"error", nullptr},
                      {"incomplete_details", nullptr},
                      {"output", json::array{}},
                      {"previous_response_id", nullptr},
                      {"store", true},
                      {"usage", nullptr},
                      {"model", view.function}};
  const std::pair<std::string_view, json::value> said[] = {
      {"instructions", nullptr},    {"max_output_tokens", nullptr},
      {"metadata", json::object{}}, {"parallel_tool_calls", true},
      {"temperature", nullptr},     {"tool_choice", "auto"},
      {"tools", json::array{}},     {"top_p", nullptr}};
  for (const auto& [name, otherwise] : said) {
    const json::value* value = field(request, name);
    object[name] = value != nullptr ? *value : otherwise;
  }
  return object;
}

// Events, numbered as they are made.
class Events final {
 public:
  void add(std::string_view type, json::object data) {
    data["type"] = type;
    data["sequence_number"] = next_;
    list_.push_back({next_, fmt::format("event: {}\ndata: {}\n\n", type, json::serialize(data))});
    ++next_;
  }
  void go_on_from(std::int64_t sequence) { next_ = sequence; }
  std::vector<ResponseEvent> take() { return std::move(list_); }

 private:
  std::vector<ResponseEvent> list_;
  std::int64_t next_ = 0;
};

struct Place {
  std::size_t output = 0;
  json::value item_id;
};

json::object at(const Place& place, json::object data) {
  data["item_id"] = place.item_id;
  data["output_index"] = place.output;
  return data;
}

std::string text_in(const json::object& object, std::string_view name) {
  const json::value* value = field(object, name);
  return value != nullptr && value->is_string() ? std::string(value->as_string()) : std::string();
}

// A part of a message or of a reasoning, whose text comes in one piece.
void add_part(Events& events, const Place& place, std::size_t index, const json::object& part) {
  const auto here = [&](json::object data) {
    data["content_index"] = index;
    return at(place, std::move(data));
  };
  const std::string type = text_in(part, "type");  // output_text, refusal, reasoning_text
  const std::string_view text_name = type == "refusal" ? "refusal" : "text";
  const std::string text = text_in(part, text_name);
  json::object empty = part;
  empty[text_name] = "";
  if (type != "reasoning_text")
    events.add("response.content_part.added", here({{"part", std::move(empty)}}));
  if (!text.empty()) events.add(fmt::format("response.{}.delta", type), here({{"delta", text}}));
  events.add(fmt::format("response.{}.done", type), here({{text_name, text}}));
  if (type != "reasoning_text") events.add("response.content_part.done", here({{"part", part}}));
}

void add_item(Events& events, std::size_t output, const json::object& item) {
  json::object begun = item;
  begun["status"] = "in_progress";
  const json::value* content = field(item, "content");
  const bool has_parts = content != nullptr && content->is_array();
  if (has_parts) begun["content"] = json::array{};
  const bool calls = text_in(item, "type") == "function_call";
  if (calls) begun["arguments"] = "";
  const json::value* id = field(item, "id");
  const Place place{output, id != nullptr ? *id : json::value("")};
  events.add("response.output_item.added", {{"output_index", output}, {"item", std::move(begun)}});
  if (has_parts)
    for (std::size_t i = 0; i < content->as_array().size(); ++i)
      if (content->as_array()[i].is_object())
        add_part(events, place, i, content->as_array()[i].as_object());
  if (calls) {
    const std::string arguments = text_in(item, "arguments");
    events.add("response.function_call_arguments.delta", at(place, {{"delta", arguments}}));
    events.add("response.function_call_arguments.done",
               at(place, {{"arguments", arguments}, {"name", text_in(item, "name")}}));
  }
  events.add("response.output_item.done", {{"output_index", output}, {"item", item}});
}

}  // namespace

std::string response_id(domain::JobId job) {
  return std::string(kResponsePrefix) + storage::to_text(job).substr(kJobPrefix.size());
}

std::optional<domain::JobId> parse_response_id(std::string_view text) {
  if (!text.starts_with(kResponsePrefix)) return std::nullopt;
  return storage::parse_job_id(std::string(kJobPrefix) +
                               std::string(text.substr(kResponsePrefix.size())));
}

json::object response_then(const JobView& view, const json::object& request, JobState state) {
  json::object object = of_request(view, request);
  object["status"] = status_of(state);
  return object;
}

json::object response_object(const JobView& view, const json::object& request) {
  json::object object = response_then(view, request, view.state);
  if (!is_terminal(view.state) || view.state == JobState::Cancelled) return object;
  object["completed_at"] = unix_seconds_or_null(view.finished);
  boost::system::error_code ec;
  const json::value answer =
      view.state == JobState::Completed ? json::parse(view.result, ec) : json::value(nullptr);
  if (view.state == JobState::Completed && !ec && answer.is_object()) {
    for (const auto& [name, value] : answer.as_object())
      if (name != "id" && name != "created_at" && name != "background" && name != "store")
        object[name] = value;
    return object;
  }
  const Error error = end_error(view);
  object["status"] = status_of(JobState::Failed);
  object["error"] = json::object{{"code", error.code}, {"message", error.message}};
  return object;
}

json::array input_items(domain::JobId job, const json::object& request) {
  const std::string stem = response_id(job).substr(kResponsePrefix.size());
  json::array items;
  const json::value* input = field(request, "input");
  if (input == nullptr) return items;
  if (input->is_string()) {
    json::object part{{"type", "input_text"}, {"text", input->as_string()}};
    items.push_back(json::object{{"type", "message"},
                                 {"role", "user"},
                                 {"status", "completed"},
                                 {"content", json::array{std::move(part)}}});
  } else if (input->is_array()) {
    items = input->as_array();
  }
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (!items[i].is_object()) items[i] = json::object{{"value", items[i]}};
    json::object& item = items[i].as_object();
    if (field(item, "type") == nullptr) item["type"] = "message";
    if (field(item, "id") == nullptr) item["id"] = fmt::format("item_{}_{}", stem, i);
  }
  return items;
}

std::vector<ResponseEvent> response_events(const JobView& view, const json::object& request) {
  Events events;
  const auto then = [&](JobState state) {
    return json::object{{"response", response_then(view, request, state)}};
  };
  events.add("response.created", then(JobState::Queued));
  events.add("response.queued", then(JobState::Queued));
  // Of one that is queued again it stays said.
  if (view.fence > 0) events.add("response.in_progress", then(JobState::InProgress));
  if (!is_terminal(view.state)) return events.take();
  events.go_on_from(kFirstOfAnswer);
  json::object whole = response_object(view, request);
  if (const json::value* output = field(whole, "output"); output != nullptr && output->is_array())
    for (std::size_t i = 0; i < output->as_array().size(); ++i)
      if (output->as_array()[i].is_object()) add_item(events, i, output->as_array()[i].as_object());
  const std::string type = "response." + text_in(whole, "status");
  events.add(type, {{"response", std::move(whole)}});
  return events.take();
}

}  // namespace glowplug::gateway
