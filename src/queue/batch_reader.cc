#include "queue/batch_reader.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <unistd.h>
#include <utility>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include "domain/errors.h"
#include "domain/limits.h"
#include "models/durable_file.h"
#include "models/sha256.h"

namespace glowplug::queue {
namespace {

namespace error = domain::error;
namespace json = boost::json;

constexpr std::size_t kReadBytes = 256 * 1024;
constexpr std::size_t kModelsRemembered = 10'000;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr std::array<std::string_view, 4> kEndpoints{"/v1/chat/completions", "/v1/completions",
                                                     "/v1/embeddings", "/v1/responses"};

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r") == std::string_view::npos;
}

BatchFault faulty(std::uint64_t line, std::string_view code, std::string param, std::string what) {
  return {line, std::string(code), std::move(what), std::move(param)};
}

std::string shown(std::string_view text) { return std::string(text.substr(0, 80)); }

const std::string* text_of(const json::object& object, std::string_view name, std::string& room) {
  const json::value* value = object.if_contains(name);
  if (value == nullptr || !value->is_string()) return nullptr;
  room.assign(value->get_string().data(), value->get_string().size());
  return &room;
}

std::size_t count_inputs(const json::object& body) {
  const json::value* input = body.if_contains("input");
  if (input == nullptr || !input->is_array()) return 1;
  const json::array& list = input->get_array();
  // A list of numbers is one text, as tokens.
  return list.empty() || list.front().is_number() ? 1 : list.size();
}

// Of what stands around the body.
std::optional<BatchFault> envelope_fault(const json::object& object, BatchLine& line,
                                         std::string_view endpoint) {
  std::string room;
  const std::string* id = text_of(object, "custom_id", room);
  if (id == nullptr || id->empty() || id->size() > domain::kCustomIdBytesMax)
    return faulty(
        line.line, object.contains("custom_id") ? error::kInvalidValue : error::kMissingField,
        "custom_id",
        fmt::format("custom_id must be a text of 1 to {} bytes.", domain::kCustomIdBytesMax));
  line.custom_id = *id;
  const std::string* method = text_of(object, "method", room);
  if (method == nullptr || *method != "POST")
    return faulty(line.line, error::kInvalidValue, "method", "method must be \"POST\".");
  const std::string* url = text_of(object, "url", room);
  if (url == nullptr || *url != endpoint)
    return faulty(line.line, error::kInvalidValue, "url",
                  fmt::format("url must be \"{}\", the endpoint of the batch{}.", endpoint,
                              url ? fmt::format(", not \"{}\"", shown(*url)) : ""));
  return std::nullopt;
}

std::optional<BatchFault> body_fault(const json::object& object, BatchLine& line) {
  const json::value* body = object.if_contains("body");
  if (body == nullptr || !body->is_object())
    return faulty(line.line, body ? error::kInvalidValue : error::kMissingField, "body",
                  "body must be an object: the request.");
  const json::object& request = body->get_object();
  std::string room;
  const std::string* model = text_of(request, "model", room);
  if (model == nullptr || model->empty())
    return faulty(line.line, error::kMissingField, "body.model",
                  "body.model must name a function.");
  line.model = *model;
  const json::value* stream = request.if_contains("stream");
  if (stream != nullptr && stream->is_bool() && stream->get_bool())
    return faulty(line.line, error::kInvalidValue, "body.stream",
                  "body.stream must be false: a batch keeps whole answers.");
  line.inputs = count_inputs(request);
  line.body = json::serialize(request);
  return std::nullopt;
}

Result<json::value> parsed(std::string_view text) {
  json::parse_options options;
  options.max_depth = domain::kJsonDepthMax;
  boost::system::error_code ec;
  json::value value = json::parse({text.data(), text.size()}, ec, {}, options);
  if (ec) return Error{std::string(error::kInvalidJson), ec.message(), ""};
  return value;
}

}  // namespace

bool is_batch_endpoint(std::string_view path) {
  return std::find(kEndpoints.begin(), kEndpoints.end(), path) != kEndpoints.end();
}

std::string batch_endpoints() { return fmt::format("{}", fmt::join(kEndpoints, ", ")); }

std::variant<BatchLine, BatchFault> read_batch_line(std::string_view text, std::uint64_t number,
                                                    std::string_view endpoint) {
  Result<json::value> value = parsed(text);
  if (!value)
    return faulty(number, error::kInvalidJson, "",
                  fmt::format("The line is not JSON: {}.", value.error().message));
  if (!value->is_object())
    return faulty(number, error::kInvalidJson, "", "The line is not a JSON object.");
  BatchLine line;
  line.line = number;
  const json::object& object = value->get_object();
  if (auto fault = envelope_fault(object, line, endpoint)) return *std::move(fault);
  if (auto fault = body_fault(object, line)) return *std::move(fault);
  return line;
}

BatchReader::BatchReader(UniqueFd fd, std::string path, std::string endpoint)
    : fd_(std::move(fd)), path_(std::move(path)), endpoint_(std::move(endpoint)) {}

Result<BatchReader> BatchReader::open(const std::string& path, std::string endpoint) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return models::file_error("cannot open the batch's input " + path, errno);
  return BatchReader(std::move(fd), path, std::move(endpoint));
}

Result<bool> BatchReader::fill() {
  if (ended_) return false;
  held_.erase(0, at_);
  at_ = 0;
  const std::size_t before = held_.size();
  held_.resize(before + kReadBytes);
  ssize_t got = 0;
  do {
    got = ::read(fd_.get(), held_.data() + before, kReadBytes);
  } while (got < 0 && errno == EINTR);
  held_.resize(before + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  if (got < 0) return models::file_error("cannot read the batch's input " + path_, errno);
  ended_ = got == 0;
  if (line_ == 0 && before == 0 && held_.starts_with(kByteOrderMark)) at_ = kByteOrderMark.size();
  return !ended_;
}

// Of a line that is too long only its end is looked for.
Result<BatchReader::Line> BatchReader::next_line() {
  bool too_long = false;
  std::size_t searched = 0;
  while (true) {
    const std::size_t end = held_.find('\n', at_ + searched);
    if (end != std::string::npos || (ended_ && at_ < held_.size())) {
      const std::size_t to = std::min(end, held_.size());
      Line line{std::string_view(held_).substr(at_, to - at_), too_long, false};
      line.too_long = line.too_long || line.text.size() > domain::kBatchLineBytesMax;
      at_ = std::min(to + 1, held_.size());
      ++line_;
      return line;
    }
    if (ended_) {
      if (too_long) ++line_;
      return Line{{}, too_long, !too_long};
    }
    searched = held_.size() - at_;
    if (searched > domain::kBatchLineBytesMax) {
      too_long = true;
      at_ = held_.size();
      searched = 0;
    }
    if (const Result<bool> more = fill(); !more) return more.error();
  }
}

Result<BatchReader::Piece> BatchReader::next(std::size_t lines_max, std::size_t bytes_max) {
  Piece piece;
  std::size_t bytes = 0;
  while (piece.lines.size() + piece.faults.size() < lines_max && bytes < bytes_max) {
    const Result<Line> line = next_line();
    if (!line) return line.error();
    if (line->end) {
      piece.end = true;
      break;
    }
    if (line->too_long) {
      piece.faults.push_back(
          faulty(line_, error::kRequestTooLarge, "",
                 fmt::format("The line is over {} bytes.", domain::kBatchLineBytesMax)));
      continue;
    }
    if (is_blank(line->text)) continue;
    bytes += line->text.size();
    auto read = read_batch_line(line->text, line_, endpoint_);
    if (auto* fault = std::get_if<BatchFault>(&read))
      piece.faults.push_back(std::move(*fault));
    else
      piece.lines.push_back(std::move(std::get<BatchLine>(read)));
  }
  return piece;
}

Result<void> BatchReader::skip(std::uint64_t line) {
  while (line_ < line) {
    const Result<Line> skipped = next_line();
    if (!skipped) return skipped.error();
    if (skipped->end) break;
  }
  return {};
}

void BatchCheck::fault(BatchFault fault) {
  ++faulty_;
  if (faults_.size() < options_.faults_listed) faults_.push_back(std::move(fault));
}

void BatchCheck::add(const BatchReader::Piece& piece, const ModelExists& exists) {
  auto bad = piece.faults.begin();
  const auto tell_before = [&](std::uint64_t line) {
    for (; bad != piece.faults.end() && bad->line < line; ++bad) fault(*bad);
  };
  lines_ += piece.lines.size() + piece.faults.size();
  for (const BatchLine& line : piece.lines) {
    tell_before(line.line);
    inputs_ += line.inputs;
    const std::string digest = models::sha256_hex(line.custom_id);
    IdHash hash{};
    for (std::size_t i = 0; i < 2; ++i)
      hash[i] = std::stoull(digest.substr(16 * i, 16), nullptr, 16);
    if (ids_.size() <= options_.lines_max && !ids_.insert(hash).second)
      fault(faulty(
          line.line, error::kInvalidValue, "custom_id",
          fmt::format("custom_id \"{}\" stands in an earlier line too.", shown(line.custom_id))));
    if (!known_.contains(line.model) && !unknown_.contains(line.model)) {
      auto& set = exists(line.model) ? known_ : unknown_;
      if (known_.size() + unknown_.size() >= kModelsRemembered) set.clear();
      set.insert(line.model);
    }
    if (unknown_.contains(line.model))
      fault(faulty(line.line, error::kModelNotFound, "body.model",
                   fmt::format("The model `{}` does not exist or you do not have access to it.",
                               shown(line.model))));
  }
  tell_before(UINT64_MAX);
}

void BatchCheck::end() {
  if (lines_ == 0)
    fault(faulty(0, error::kInvalidValue, "input_file_id", "The input file has no requests."));
  if (lines_ > options_.lines_max)
    fault(faulty(0, error::kInvalidValue, "input_file_id",
                 fmt::format("The input file has more than {} requests, the server's batch_lines.",
                             options_.lines_max)));
  if (inputs_ > options_.inputs_max)
    fault(faulty(0, error::kInvalidValue, "input_file_id",
                 fmt::format("The requests have more than {} texts to embed together.",
                             options_.inputs_max)));
}

std::vector<BatchFault> BatchCheck::faults() const {
  std::vector<BatchFault> told = faults_;
  if (faulty_ > told.size())
    told.push_back(faulty(0, error::kInvalidValue, "",
                          fmt::format("{} more faults are not listed.", faulty_ - told.size())));
  return told;
}

}  // namespace glowplug::queue
