// Reads one HTTP/1.1 reply from bytes as they arrive: head, then a body by length, in chunks, or
// until close.
//
// The body of a 2xx reply goes to the sink piece by piece when there is one; every other body is
// gathered. A reply that stops before its end is an error, never a shorter body.
//
// Thread: one owner. Does not touch sockets.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace glowplug::cli {

struct HttpReply {
  int status = 0;
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
  std::string body;

  std::string_view header(std::string_view lower_case_name) const;  // empty when absent
  bool succeeded() const { return status >= 200 && status < 300; }
};

// What a sink says after each piece; Enough ends the reading, and the reply counts as whole.
enum class Want { More, Enough };
using BodySink = std::function<Want(std::string_view piece)>;

class ReplyReader final {
 public:
  explicit ReplyReader(BodySink sink = {}) : sink_(std::move(sink)) {}

  Result<void> feed(std::string_view bytes);
  Result<void> finish();  // the peer closed
  bool done() const { return state_ == State::Done; }
  HttpReply& reply() { return reply_; }

 private:
  enum class State { Head, Fixed, ChunkSize, Chunk, ChunkEnd, Trailer, UntilClose, Done };

  Result<void> step(std::string_view& bytes);
  Result<void> take_head();
  Result<void> take_chunk_size(std::string_view line);
  Result<void> take_body(std::string_view& bytes);
  bool take_line(std::string_view& bytes);  // true when line_ holds a whole line, without its end

  BodySink sink_;
  HttpReply reply_;
  State state_ = State::Head;
  std::string line_;
  bool line_complete_ = false;
  std::uint64_t left_ = 0;  // bytes of the body or of the chunk that are still to come
};

}  // namespace glowplug::cli
