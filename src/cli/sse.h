// Server-sent events, read as they arrive: pieces of bytes in, whole `data:` payloads out; and what
// one chunk of a streamed chat completion says.
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

class SseReader final {
 public:
  explicit SseReader(std::function<void(std::string_view data)> on_data)
      : on_data_(std::move(on_data)) {}
  void feed(std::string_view piece);

 private:
  void take_line(std::string_view line);

  std::function<void(std::string_view data)> on_data_;
  std::string line_;
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
