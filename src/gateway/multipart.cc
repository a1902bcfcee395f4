#include "gateway/multipart.h"

#include <algorithm>
#include <cctype>

#include <fmt/format.h>

#include "domain/errors.h"

namespace glowplug::gateway {
namespace {

constexpr std::string_view kLineEnd = "\r\n";

Error malformed(const std::string& what) {
  return {std::string(domain::error::kBadRequest), "The multipart body is malformed: " + what + ".",
          ""};
}

char lower(char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); }

bool same_word(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

struct Parameter {
  std::string name;
  std::string value;
};

// Takes the next `; name=value` off the front; none at the end, or where it cannot be read. In
// quotes a backslash keeps the quote or backslash behind it, and any other stays one: browsers
// write a path of Windows as it is, and a quote as %22.
std::optional<Parameter> next_parameter(std::string_view& rest) {
  rest = trimmed(rest);
  if (rest.empty() || rest.front() != ';') return std::nullopt;
  rest = trimmed(rest.substr(1));
  const std::size_t equals = rest.find('=');
  if (equals == std::string_view::npos) return std::nullopt;
  Parameter parameter{std::string(trimmed(rest.substr(0, equals))), {}};
  rest = trimmed(rest.substr(equals + 1));
  if (rest.empty() || rest.front() != '"') {
    const std::size_t end = std::min(rest.find(';'), rest.size());
    parameter.value = trimmed(rest.substr(0, end));
    rest.remove_prefix(end);
    return parameter;
  }
  for (std::size_t i = 1; i < rest.size(); ++i) {
    if (rest[i] == '"') {
      rest.remove_prefix(i + 1);
      return parameter;
    }
    if (rest[i] == '\\' && i + 1 < rest.size() && (rest[i + 1] == '"' || rest[i + 1] == '\\')) ++i;
    parameter.value += rest[i];
  }
  return std::nullopt;  // the quote never ends
}

// The value of Content-Disposition.
Result<PartHead> read_disposition(std::string_view value) {
  const std::size_t end = std::min(value.find(';'), value.size());
  if (!same_word(trimmed(value.substr(0, end)), "form-data"))
    return malformed("a part's Content-Disposition is not form-data");
  std::string_view rest = value.substr(end);
  PartHead head;
  bool named = false;
  while (const std::optional<Parameter> parameter = next_parameter(rest)) {
    if (same_word(parameter->name, "name")) {
      head.name = parameter->value;
      named = true;
    } else if (same_word(parameter->name, "filename")) {
      head.filename = parameter->value;
    }
  }
  if (!trimmed(rest).empty()) return malformed("a part's Content-Disposition cannot be read");
  if (!named) return malformed("a part has no name");
  return head;
}

Result<PartHead> read_part_head(std::string_view text) {
  std::optional<PartHead> head;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(kLineEnd), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + kLineEnd.size(), text.size()));
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos || colon == 0)
      return malformed("a part has a header line without a name");
    const std::string_view name = line.substr(0, colon);
    if (same_word(name, "content-transfer-encoding") &&
        !same_word(trimmed(line.substr(colon + 1)), "binary") &&
        !same_word(trimmed(line.substr(colon + 1)), "8bit") &&
        !same_word(trimmed(line.substr(colon + 1)), "7bit"))
      return malformed("a part has a Content-Transfer-Encoding; send its bytes as they are");
    if (!same_word(name, "content-disposition")) continue;
    if (head) return malformed("a part has two Content-Disposition headers");
    Result<PartHead> read = read_disposition(line.substr(colon + 1));
    if (!read) return read;
    head = std::move(*read);
  }
  if (!head) return malformed("a part has no Content-Disposition");
  return *std::move(head);
}

bool may_be_boundary(std::string_view text) {
  return !text.empty() && text.size() <= 70 && text.back() != ' ' &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return std::isalnum(c) != 0 ||
                  std::string_view("'()+_,-./:=? ").find(static_cast<char>(c)) !=
                      std::string_view::npos;
         });
}

}  // namespace

Result<std::string> multipart_boundary(std::string_view content_type) {
  const auto fault = [](const std::string& what) {
    return Error{std::string(domain::error::kUnsupportedMediaType), what, ""};
  };
  const std::size_t end = std::min(content_type.find(';'), content_type.size());
  if (!same_word(trimmed(content_type.substr(0, end)), "multipart/form-data"))
    return fault("A file is sent as multipart/form-data with the fields purpose and file.");
  std::string_view rest = content_type.substr(end);
  while (const std::optional<Parameter> parameter = next_parameter(rest)) {
    if (!same_word(parameter->name, "boundary")) continue;
    if (may_be_boundary(parameter->value)) return parameter->value;
    return fault("The boundary in content-type is not 1 to 70 of the characters that it may have.");
  }
  return fault("content-type is multipart/form-data and names no boundary.");
}

// The first boundary has no line end before it, so one is put there.
MultipartParser::MultipartParser(const std::string& boundary)
    : delimiter_("\r\n--" + boundary), held_(kLineEnd) {}

Result<void> MultipartParser::feed(std::string_view piece, std::vector<PartEvent>& events) {
  if (state_ == State::Epilogue) return {};
  held_ += piece;
  while (true) {
    const Result<bool> stepped = step(events);
    if (!stepped) return stepped.error();
    if (!*stepped) return {};
  }
}

Result<bool> MultipartParser::step(std::vector<PartEvent>& events) {
  switch (state_) {
    case State::Preamble: return read_preamble();
    case State::Boundary: return read_boundary();
    case State::Head: return read_head(events);
    case State::Content: return read_content(events);
    case State::Epilogue: held_.clear(); return false;
  }
  return false;
}

Result<bool> MultipartParser::read_preamble() {
  const std::size_t at = held_.find(delimiter_);
  if (at == std::string::npos) {
    if (held_.size() > kPreambleBytesMax) return malformed("the boundary does not come");
    return false;
  }
  held_.erase(0, at + delimiter_.size());
  state_ = State::Boundary;
  return true;
}

// Behind the delimiter: two dashes end it all, else blanks and a line end.
Result<bool> MultipartParser::read_boundary() {
  if (held_.size() < 2) return false;
  if (held_.starts_with("--")) {
    state_ = State::Epilogue;
    return true;
  }
  const std::size_t blanks = std::min(held_.find_first_not_of(" \t"), held_.size());
  if (blanks > kPartHeadBytesMax) return malformed("a boundary's line does not end");
  if (held_.size() < blanks + kLineEnd.size()) return false;
  if (held_.compare(blanks, kLineEnd.size(), kLineEnd) != 0)
    return malformed("a boundary is followed by something else than a line end");
  if (++parts_ > kPartsMax) return malformed(fmt::format("it has more than {} parts", kPartsMax));
  held_.erase(0, blanks);  // the line end stays: a head without lines ends with it and one more
  state_ = State::Head;
  return true;
}

Result<bool> MultipartParser::read_head(std::vector<PartEvent>& events) {
  const std::size_t end = held_.find("\r\n\r\n");
  if (std::min(end, held_.size()) > kPartHeadBytesMax)
    return malformed(fmt::format("a part's headers are over {} bytes", kPartHeadBytesMax));
  if (end == std::string::npos) return false;
  const std::string_view lines = std::string_view(held_).substr(0, end);
  Result<PartHead> head = read_part_head(lines.substr(std::min(kLineEnd.size(), lines.size())));
  if (!head) return head.error();
  events.push_back({PartEvent::Kind::Begins, std::move(*head), {}});
  held_.erase(0, end + 2 * kLineEnd.size());
  state_ = State::Content;
  return true;
}

bool MultipartParser::read_content(std::vector<PartEvent>& events) {
  const std::size_t at = held_.find(delimiter_);
  const bool ends = at != std::string::npos;
  const std::size_t safe = ends ? at : held_.size() - std::min(held_.size(), delimiter_.size() - 1);
  if (safe > 0) events.push_back({PartEvent::Kind::Content, {}, held_.substr(0, safe)});
  if (!ends) {
    held_.erase(0, safe);
    return false;
  }
  events.push_back({PartEvent::Kind::Ends, {}, {}});
  held_.erase(0, at + delimiter_.size());
  state_ = State::Boundary;
  return true;
}

}  // namespace glowplug::gateway
