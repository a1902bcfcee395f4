#include "cli/sse.h"

#include "cli/exit_code.h"
#include "cli/json_fields.h"

namespace glowplug::cli {

void SseReader::feed(std::string_view piece) {
  while (!piece.empty()) {
    const auto end = piece.find('\n');
    line_ += piece.substr(0, end);
    if (end == std::string_view::npos) return;
    piece.remove_prefix(end + 1);
    if (line_.ends_with('\r')) line_.pop_back();
    take_line(line_);
    line_.clear();
  }
}

void SseReader::take_line(std::string_view line) {
  if (line.empty()) {
    if (has_data_) on_event_({.name = name_, .data = data_});
    name_.clear();
    data_.clear();
    has_data_ = false;
    return;
  }
  const auto colon = line.find(':');
  if (colon == std::string_view::npos) return;
  const std::string_view field = line.substr(0, colon);
  line.remove_prefix(colon + 1);
  if (line.starts_with(' ')) line.remove_prefix(1);
  if (field == "event") name_ = line;
  if (field != "data") return;  // comments, ids
  if (has_data_) data_ += '\n';
  data_ += line;
  has_data_ = true;
}

Result<ChatChunk> read_chat_chunk(std::string_view data) {
  const Result<boost::json::value> parsed = parse_json(data);
  if (!parsed) return parsed.error();
  ChatChunk out;
  if (const auto* error = field(*parsed, "error"); error != nullptr && error->is_object()) {
    out.error = Error{text_field(*error, "code"), text_field(*error, "message"),
                      text_field(*error, "param")};
    return out;
  }
  if (const auto* usage = field(*parsed, "usage"); usage != nullptr && usage->is_object()) {
    out.prompt_tokens = static_cast<int>(number_field(*usage, "prompt_tokens"));
    out.completion_tokens = static_cast<int>(number_field(*usage, "completion_tokens"));
  }
  const auto* choices = field(*parsed, "choices");
  if (choices == nullptr || !choices->is_array() || choices->get_array().empty()) return out;
  const boost::json::value& choice = choices->get_array().front();
  out.finish_reason = text_field(choice, "finish_reason");
  if (const auto* delta = field(choice, "delta"); delta != nullptr)
    out.text = text_field(*delta, "content");
  return out;
}

}  // namespace glowplug::cli
