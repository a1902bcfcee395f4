#include "cli/http_reply.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "cli/exit_code.h"
#include "cli/words.h"
#include "domain/limits.h"

namespace glowplug::cli {
namespace {

Error bad_reply(std::string message) { return {std::string(kBadReply), std::move(message), ""}; }

template <typename Number>
bool read_number(std::string_view text, Number& value, int base = 10) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

std::string_view HttpReply::header(std::string_view lower_case_name) const {
  for (const auto& [name, value] : headers)
    if (name == lower_case_name) return value;
  return {};
}

Result<void> ReplyReader::feed(std::string_view bytes) {
  while (!bytes.empty() && !done()) {
    if (Result<void> stepped = step(bytes); !stepped) return stepped;
  }
  return {};
}

Result<void> ReplyReader::finish() {
  if (state_ == State::UntilClose) state_ = State::Done;
  if (done()) return {};
  if (reply_.status == 0) return bad_reply("the server closed the connection without an answer");
  return bad_reply("the server's answer broke off before its end");
}

Result<void> ReplyReader::step(std::string_view& bytes) {
  switch (state_) {
    case State::Head:
      if (!take_line(bytes)) break;
      return take_head();
    case State::ChunkSize:
      if (!take_line(bytes)) break;
      return take_chunk_size(line_);
    case State::ChunkEnd:
      if (!take_line(bytes)) break;
      if (!line_.empty()) return bad_reply("the server's answer has a chunk of the wrong length");
      state_ = State::ChunkSize;
      break;
    case State::Trailer:
      if (take_line(bytes) && line_.empty()) state_ = State::Done;
      break;
    case State::Fixed:
    case State::Chunk:
    case State::UntilClose: return take_body(bytes);
    case State::Done: break;
  }
  if (line_.size() > domain::kHeaderBytesMax)
    return bad_reply(
        fmt::format("the server's answer has a line over {} bytes", domain::kHeaderBytesMax));
  return {};
}

bool ReplyReader::take_line(std::string_view& bytes) {
  if (line_complete_) line_.clear();
  const auto end = bytes.find('\n');
  line_complete_ = end != std::string_view::npos;
  line_.append(bytes.substr(0, end));
  bytes.remove_prefix(line_complete_ ? end + 1 : bytes.size());
  if (line_complete_ && !line_.empty() && line_.back() == '\r') line_.pop_back();
  return line_complete_;
}

// One line of the head: the status line first, then headers, then the empty line that ends it.
Result<void> ReplyReader::take_head() {
  if (reply_.status == 0) {
    const std::string_view line = line_;
    const bool known = line.starts_with("HTTP/1.") && line.size() >= 12;
    if (!known || !read_number(line.substr(9, 3), reply_.status) || reply_.status < 100)
      return bad_reply("what answers there does not speak HTTP/1.1");
    return {};
  }
  if (!line_.empty()) {
    const auto colon = line_.find(':');
    if (colon == std::string::npos) return bad_reply("the server's answer has a malformed header");
    if (reply_.headers.size() >= 256) return bad_reply("the server's answer has over 256 headers");
    const std::string_view line = line_;
    reply_.headers.emplace_back(lower(line.substr(0, colon)),
                                std::string(trim(line.substr(colon + 1))));
    return {};
  }
  if (reply_.status < 200) {  // 100 Continue and its like come before the real head
    reply_ = {};
    return {};
  }
  if (lower(reply_.header("transfer-encoding")) == "chunked") {
    state_ = State::ChunkSize;
  } else if (reply_.status == 204 || reply_.status == 304) {
    state_ = State::Done;
  } else if (const std::string_view length = reply_.header("content-length"); !length.empty()) {
    if (!read_number(length, left_))
      return bad_reply("the server's answer has a malformed content-length");
    state_ = left_ == 0 ? State::Done : State::Fixed;
  } else {
    state_ = State::UntilClose;
  }
  return {};
}

Result<void> ReplyReader::take_chunk_size(std::string_view line) {
  if (!read_number(trim(line.substr(0, line.find(';'))), left_, 16))
    return bad_reply("the server's answer has a malformed chunk size");
  state_ = left_ == 0 ? State::Trailer : State::Chunk;
  return {};
}

Result<void> ReplyReader::take_body(std::string_view& bytes) {
  std::size_t taken = bytes.size();
  if (state_ != State::UntilClose)
    taken = static_cast<std::size_t>(std::min<std::uint64_t>(taken, left_));
  const std::string_view piece = bytes.substr(0, taken);
  bytes.remove_prefix(taken);
  if (sink_ && reply_.succeeded()) {
    if (sink_(piece) == Want::Enough) {
      state_ = State::Done;
      return {};
    }
  } else {
    if (reply_.body.size() + taken > domain::kReplicaReplyBytesMax)
      return bad_reply(
          fmt::format("the server's answer is over {} bytes", domain::kReplicaReplyBytesMax));
    reply_.body += piece;
  }
  if (state_ == State::UntilClose) return {};
  left_ -= taken;
  if (left_ == 0) state_ = state_ == State::Fixed ? State::Done : State::ChunkEnd;
  return {};
}

}  // namespace glowplug::cli
