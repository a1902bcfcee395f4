// `files`, `batch` and `batches`.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <random>
#include <utility>

#include <fmt/chrono.h>
#include <fmt/format.h>

#include "base/units.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/json_fields.h"
#include "cli/table.h"

namespace glowplug::cli {
namespace {

namespace json = boost::json;

constexpr Duration kPollEvery = 1s;
constexpr std::size_t kPieceBytes = 256 * 1024;
constexpr std::array<std::string_view, 4> kOver{"completed", "failed", "expired", "cancelled"};

std::string when(const json::value& object, std::string_view name) {
  const auto seconds = static_cast<std::time_t>(number_field(object, name));
  return seconds == 0 ? "-" : fmt::format("{:%Y-%m-%d %H:%M:%S}", fmt::gmtime(seconds));
}

// A name in quotes, as browsers write them.
std::string quoted(const std::string& name) {
  std::string text;
  for (const char c : name) {
    if (c == '"')
      text += "%22";
    else if (c != '\r' && c != '\n')
      text += c;
  }
  return text;
}

// Nothing that a file holds can be foreseen of it.
std::string new_boundary() {
  std::random_device random;
  return fmt::format("glowplug-{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
}

// A file from its beginning, and `tail` behind it, in pieces.
std::function<Result<std::string>()> pieces_of(std::ifstream&& file, std::string tail) {
  // Owner: the function, which is copied.
  auto from = std::make_shared<std::ifstream>(std::move(file));
  return [from, tail = std::move(tail)]() mutable -> Result<std::string> {
    std::string piece(kPieceBytes, '\0');
    from->read(piece.data(), static_cast<std::streamsize>(piece.size()));
    if (from->bad())
      return Error{std::string(kClientFailed), "the file cannot be read any further", ""};
    piece.resize(static_cast<std::size_t>(from->gcount()));
    return piece.empty() ? std::exchange(tail, "") : piece;
  };
}

Fetched upload(const Context& context, const std::string& path, const std::string& purpose) {
  std::error_code error;
  const std::uintmax_t bytes = std::filesystem::file_size(path, error);
  std::ifstream file(path, std::ios::binary);
  if (error || !file)
    return {report_error(context, {std::string(kClientFailed),
                                   fmt::format("cannot read '{}': {}", path,
                                               error ? error.message() : std::strerror(errno)),
                                   "file"}),
            {}};
  const std::string boundary = new_boundary();
  std::string tail = fmt::format("\r\n--{}--\r\n", boundary);
  HttpRequest request{.method = "POST", .target = "/v1/files"};
  request.content_type = fmt::format("multipart/form-data; boundary={}", boundary);
  request.body = fmt::format(
      "--{0}\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\n{1}\r\n--{0}\r\n"
      "Content-Disposition: form-data; name=\"file\"; filename=\"{2}\"\r\n"
      "Content-Type: application/octet-stream\r\n\r\n",
      boundary, purpose, quoted(std::filesystem::path(path).filename().string()));
  request.more_bytes = bytes + tail.size();
  request.more = pieces_of(std::move(file), std::move(tail));
  request.idle_timeout = 120s;
  return fetch(context, context.server, request);
}

std::string file_target(const std::string& id, std::string_view suffix = "") {
  return fmt::format("/v1/files/{}{}", percent_encode(id), suffix);
}

std::string files_table(const json::array& files) {
  if (files.empty()) return "no files\n";
  std::vector<std::vector<std::string>> rows;
  for (const json::value& one : files)
    rows.push_back({text_field(one, "id"), text_field(one, "filename"), text_field(one, "purpose"),
                    format_bytes(static_cast<std::uint64_t>(number_field(one, "bytes"))),
                    when(one, "created_at"), when(one, "expires_at")});
  return layout_table({{"FILE"},
                       {"NAME"},
                       {"PURPOSE"},
                       {"SIZE", Align::Right},
                       {"CREATED (UTC)"},
                       {"EXPIRES (UTC)"}},
                      rows);
}

// Straight to the output, however long it is.
int get_content(const Context& context, const std::string& id) {
  const BodySink write = [&out = context.console.out](std::string_view piece) {
    out << piece;
    return out ? Want::More : Want::Enough;
  };
  const Result<HttpReply> reply =
      context.server.send({.target = file_target(id, "/content"), .idle_timeout = 120s}, write);
  if (!reply) return report_error(context, reply.error());
  if (reply->status != 200) return report_refusal(context, *reply);
  if (context.console.out << std::flush) return 0;
  return report_error(context, {std::string(kClientFailed), "the output takes no more", ""});
}

bool is_over(const json::value& batch) {
  const std::string status = text_field(batch, "status");
  return std::find(kOver.begin(), kOver.end(), status) != kOver.end();
}

std::string counts_text(const json::value& batch) {
  const json::value* counts = field(batch, "request_counts");
  if (counts == nullptr) return "-";
  return fmt::format("{} of {}, {} failed", number_field(*counts, "completed"),
                     number_field(*counts, "total"), number_field(*counts, "failed"));
}

std::string batches_table(const json::array& batches) {
  if (batches.empty()) return "no batches; start one with: glowplug batch FILE.jsonl\n";
  std::vector<std::vector<std::string>> rows;
  for (const json::value& one : batches)
    rows.push_back({text_field(one, "id"), text_field(one, "status"), counts_text(one),
                    text_field(one, "endpoint"), when(one, "created_at")});
  return layout_table({{"BATCH"}, {"STATUS"}, {"DONE"}, {"ENDPOINT"}, {"CREATED (UTC)"}}, rows);
}

// Some are of no one line.
std::string fault_text(const json::value& fault) {
  const auto line = number_field(fault, "line");
  const std::string message = text_field(fault, "message");
  return line == 0 ? message : fmt::format("line {}: {}", line, message);
}

void show_batch(const Context& context, const json::value& batch) {
  if (context.json) return print_json(context, batch);
  context.console.out << fmt::format("{}: {}, {}\n", text_field(batch, "id"),
                                     text_field(batch, "status"), counts_text(batch));
  const json::value* errors = field(batch, "errors");
  if (errors != nullptr)
    for (const json::value& fault : data_of(*errors))
      context.console.out << "  " << fault_text(fault) << "\n";
  for (const auto& [name, what] :
       {std::pair{"output_file_id", "answers"}, std::pair{"error_file_id", "errors"}})
    if (const std::string id = text_field(batch, name); !id.empty())
      context.console.out << fmt::format("  {}: glowplug files get {}\n", what, id);
  context.console.out << std::flush;
}

std::string batch_target(const json::value& batch) {
  return "/v1/batches/" + percent_encode(text_field(batch, "id"));
}

}  // namespace

int files(const Context& context, const FilesOptions& options) {
  if (options.verb.empty()) return print_list(context, "/v1/files", files_table);
  if (options.verb == "get") return get_content(context, options.file);
  const Fetched got = options.verb == "upload"
                          ? upload(context, options.file, options.purpose)
                          : fetch(context, context.server,
                                  {.method = "DELETE", .target = file_target(options.file)});
  if (got.exit != 0) return got.exit;
  if (context.json)
    print_json(context, got.body);
  else
    context.console.out << (options.verb == "rm" ? "removed " : "") << text_field(got.body, "id")
                        << std::endl;
  return 0;
}

int batch(const Context& context, const BatchOptions& options) {
  const Fetched file = upload(context, options.file, "batch");
  if (file.exit != 0) return file.exit;
  const json::object wish{{"input_file_id", text_field(file.body, "id")},
                          {"endpoint", options.endpoint},
                          {"completion_window", "24h"}};
  Fetched got = fetch(context, context.server,
                      {.method = "POST", .target = "/v1/batches", .body = to_text(wish)});
  if (got.exit != 0) return got.exit;
  // Known also to one who does not wait for the end.
  if (options.wait) context.console.err << text_field(got.body, "id") << " is begun" << std::endl;
  while (options.wait && !is_over(got.body)) {
    if (!pause(context, kPollEvery)) return to_int(ExitCode::Failed);
    got = fetch(context, context.server, {.target = batch_target(got.body)});
    if (got.exit != 0) return got.exit;
  }
  show_batch(context, got.body);
  const bool done = !options.wait || text_field(got.body, "status") == "completed";
  return to_int(done ? ExitCode::Done : ExitCode::Failed);
}

int batches(const Context& context) {
  return print_list(context, "/v1/batches?limit=100", batches_table);
}

}  // namespace glowplug::cli
