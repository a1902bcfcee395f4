#include "queue/batch_results.h"

#include <utility>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/string.hpp>
#include <fmt/format.h>

#include "domain/errors.h"

namespace glowplug::queue {
namespace {

namespace json = boost::json;

constexpr std::size_t kLinesPerPiece = 256;
constexpr std::size_t kBytesPerPiece = 1024 * 1024;
constexpr std::size_t kHeldBytes = 256 * 1024;  // before they are written

std::string quoted(std::string_view text) {
  return json::serialize(json::string(text.data(), text.size()));
}

// As it stands in a line of its own.
std::string one_line(const std::string& body) {
  if (body.starts_with('{') && body.find_first_of("\r\n") == std::string::npos) return body;
  boost::system::error_code ec;
  const json::value value = json::parse(body, ec);
  return ec ? quoted(body) : json::serialize(value);
}

struct Reason {
  std::string code;
  std::string message;
};

Reason why_unrun(BatchResults::Unrun unrun) {
  switch (unrun) {
    case BatchResults::Unrun::Expired:
      return {"batch_expired", "The batch's completion window ended before this request was run."};
    case BatchResults::Unrun::Cancelled:
      return {"batch_cancelled", "The batch was cancelled before this request was run."};
    case BatchResults::Unrun::Lost: break;
  }
  return {std::string(domain::error::kServerError), "There is no result of this request."};
}

Reason why(const BatchJobs::Row* row, BatchResults::Unrun unrun) {
  if (row == nullptr) return why_unrun(unrun);
  if (row->state == domain::JobState::Expired) return why_unrun(BatchResults::Unrun::Expired);
  if (row->state == domain::JobState::Cancelled && unrun == BatchResults::Unrun::Lost)
    return {"cancelled", "This request was cancelled."};
  if (row->state == domain::JobState::Failed && !row->code.empty())
    return {row->code, row->message};
  return why_unrun(unrun);
}

}  // namespace

BatchResults::BatchResults(Parts parts) : parts_(std::move(parts)) {}

Result<bool> BatchResults::more_input() {
  while (lines_.empty() && !input_ended_) {
    Result<BatchReader::Piece> piece = parts_.input.next(kLinesPerPiece, kBytesPerPiece);
    if (!piece) return piece.error();
    input_ended_ = piece->end;
    for (BatchLine& line : piece->lines) lines_.push_back(std::move(line));
  }
  return !lines_.empty();
}

Result<void> BatchResults::take(const std::vector<BatchJobs::Row>& rows) {
  auto row = rows.begin();
  while (rows.empty() || row != rows.end()) {
    const Result<bool> more = more_input();
    if (!more) return more.error();
    if (!*more) break;
    const BatchLine line = std::move(lines_.front());
    lines_.pop_front();
    while (row != rows.end() && row->line < line.line) ++row;
    const bool has_row = row != rows.end() && row->line == line.line;
    if (auto written = write(line, has_row ? &*row : nullptr); !written) return written;
    if (has_row) ++row;
  }
  return flush(rows.empty() ? 0 : kHeldBytes);
}

Result<void> BatchResults::write(const BatchLine& line, const BatchJobs::Row* row) {
  const bool good = row != nullptr && row->state == domain::JobState::Completed;
  const bool answered =
      row != nullptr && !row->body.empty() && (good || row->state == domain::JobState::Failed);
  std::string response = "null", error = "null";
  if (answered) {
    response = fmt::format(R"({{"status_code":{},"request_id":{},"body":{}}})", row->status,
                           quoted(row->job), one_line(row->body));
  } else {
    const Reason reason = why(row, parts_.unrun);
    error =
        fmt::format(R"({{"code":{},"message":{}}})", quoted(reason.code), quoted(reason.message));
  }
  if (row != nullptr) {
    usage_.prompt_tokens += row->prompt_tokens;
    usage_.cached_tokens += row->cached_tokens;
    usage_.completion_tokens += row->completion_tokens;
  }
  std::string& text = good && answered ? output_text_ : error_text_;
  ++(good && answered ? done_ : failed_);
  text += fmt::format(R"({{"id":"batch_req_{:x}_{}","custom_id":{},"response":{},"error":{}}})",
                      parts_.batch, line.line, quoted(line.custom_id), response, error);
  text += '\n';
  return flush(kHeldBytes);
}

Result<void> BatchResults::flush(std::size_t held_max) {
  for (const auto& [text, draft] :
       {std::pair{&output_text_, &parts_.output}, std::pair{&error_text_, &parts_.errors}}) {
    if (text->size() <= held_max) continue;
    if (auto written = (*draft)->write(*text); !written) return written;
    text->clear();
  }
  return {};
}

}  // namespace glowplug::queue
