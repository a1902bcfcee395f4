// Server-sent events, read as they arrive: pieces of bytes in, whole events out; and what one chunk
// of a streamed chat completion says.
//
// Thread: one owner.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace glowplug::cli {

struct SseEvent {
  std::string_view name;  // of its `event:` line; empty without one
  std::string_view data;
};

class SseReader final {
 public:
  explicit SseReader(std::function<void(const SseEvent& event)> on_event)
      : on_event_(std::move(on_event)) {}
  void feed(std::string_view piece);

 private:
  void take_line(std::string_view line);

  std::function<void(const SseEvent& event)> on_event_;
  std::string line_;
  std::string name_;
  std::string data_;
  bool has_data_ = false;
};

struct ChatChunk {
  std::string text;
  std::string finish_reason;         // empty until the last choice chunk
  std::optional<int> prompt_tokens;  // of the usage chunk
  std::optional<int> completion_tokens;
  std::optional<Error> error;  // in-band: the answer ends here
};

// `data` is the payload of one event, not "[DONE]".
Result<ChatChunk> read_chat_chunk(std::string_view data);

}  // namespace glowplug::cli
