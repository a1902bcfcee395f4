// /v1/files: uploads, which go to the disk as they come, lists, contents, removal.
#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <utility>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <spdlog/spdlog.h>

#include "domain/errors.h"
#include "domain/limits.h"
#include "gateway/awaited.h"
#include "gateway/body_stream.h"
#include "gateway/json_text.h"
#include "gateway/list_page.h"
#include "gateway/multipart.h"
#include "gateway/request_fields.h"
#include "gateway/routes.h"
#include "gateway/upload_form.h"
#include "queue/file_store.h"
#include "queue/job_service.h"

namespace glowplug::gateway {
namespace {

namespace json = boost::json;
using queue::FileRecord;
using queue::FileStore;

constexpr std::size_t kReadBytes = 256 * 1024;
constexpr std::size_t kFilesPerPage = 10'000;

json::object file_object(const FileRecord& file) {
  json::object object{{"id", file.id},         {"object", "file"},
                      {"bytes", file.bytes},   {"created_at", unix_seconds(file.created)},
                      {"filename", file.name}, {"purpose", file.purpose},
                      {"status", "processed"}};
  object["expires_at"] = file.expires ? json::value(unix_seconds(*file.expires)) : nullptr;
  return object;
}

Reply no_file(const Exchange& exchange) {
  return exchange.error_reply(Error{std::string(domain::error::kNotFound),
                                    "There is no file `" + exchange.name.substr(0, 80) + "`.",
                                    "id"});
}

// What the disk says names folders of the server: that is for its log, not for whoever asked.
Reply file_refusal(const Exchange& exchange, Error error) {
  const bool is_full = error.code == domain::error::kDiskFull;
  if (is_full || error.code == domain::error::kStorageFailed) {
    spdlog::error("request={} code={} reason=\"{}\"", exchange.request_id, error.code,
                  error.message);
    error.message = is_full ? "There is no room for the file; free some on the server's disk and "
                              "try again."
                            : "The file could not be written or read; the server's log says why.";
  }
  return exchange.error_reply(error, queue::retry_after_s(error));
}

std::optional<FileRecord> file_of(const Exchange& exchange) {
  const FileStore* files = exchange.server.options.files;
  return files ? files->find(exchange.name) : std::nullopt;
}

// A draft that is abandoned in between removes itself.
Coroutine<Result<FileStore::Draft>> begin_draft(Exchange& exchange) {
  const auto begun = std::make_shared<Awaited<Result<FileStore::Draft>>>(exchange.server.io);
  exchange.server.options.files->begin(
      queue::FileOrigin::Uploaded,
      [begun](Result<FileStore::Draft> draft) { begun->give(std::move(draft)); });
  co_await wait_for(begun);
  co_return std::move(*begun->value);
}

Coroutine<Result<void>> append(Exchange& exchange, FileStore::Draft draft, std::string content) {
  const auto written = std::make_shared<Awaited<Result<void>>>(exchange.server.io);
  exchange.server.options.files->append(
      std::move(draft), std::move(content),
      [written](Result<void> result) { written->give(std::move(result)); });
  co_await wait_for(written);
  co_return std::move(*written->value);
}

struct Upload {
  FileStore::Draft draft;
  UploadForm form;
  MultipartParser parser;
};

// The body into the draft, as it comes.
Coroutine<Result<void>> receive(Exchange& exchange, Upload& upload) {
  std::vector<PartEvent> events;
  while (true) {
    const Result<std::string_view> piece = co_await exchange.body->next();
    if (!piece) co_return piece.error();
    if (piece->empty()) co_return Result<void>();
    events.clear();
    if (Result<void> fed = upload.parser.feed(*piece, events); !fed) co_return fed;
    std::string content;
    if (Result<void> taken = upload.form.take(events, content); !taken) co_return taken;
    if (upload.form.has_file() && !upload.draft) {
      Result<FileStore::Draft> draft = co_await begin_draft(exchange);
      if (!draft) co_return draft.error();
      upload.draft = std::move(*draft);
    }
    if (content.empty()) continue;
    const Result<void> written = co_await append(exchange, upload.draft, std::move(content));
    if (!written) co_return written;
  }
}

Coroutine<Result<FileRecord>> keep(Exchange& exchange, Upload& upload) {
  Result<queue::FileWish> wish = upload.form.finish(upload.parser.complete());
  if (!wish) co_return wish.error();
  const auto kept = std::make_shared<Awaited<Result<FileRecord>>>(exchange.server.io);
  exchange.server.options.files->keep(
      std::move(upload.draft), std::move(*wish),
      [kept](Result<FileRecord> record) { kept->give(std::move(record)); });
  co_await wait_for(kept);
  co_return std::move(*kept->value);
}

Coroutine<Result<FileRecord>> upload_file(Exchange& exchange) {
  if (exchange.server.options.files == nullptr)
    co_return Error{std::string(domain::error::kNotFound), "This server keeps no files.", ""};
  const Result<std::string> boundary = multipart_boundary(exchange.header("content-type"));
  if (!boundary) co_return boundary.error();
  Upload upload{nullptr, UploadForm(), MultipartParser(*boundary)};
  const Result<void> received = co_await receive(exchange, upload);
  if (!received) co_return received.error();
  Result<FileRecord> kept = co_await keep(exchange, upload);
  co_return kept;
}

std::vector<FileRecord> files_listed(const Exchange& exchange, bool ascending) {
  const FileStore* files = exchange.server.options.files;
  if (files == nullptr) return {};
  std::vector<FileRecord> all = files->list();
  const std::string_view purpose = exchange.query_value("purpose");
  if (!purpose.empty())
    std::erase_if(all, [purpose](const FileRecord& file) { return file.purpose != purpose; });
  if (!ascending) std::reverse(all.begin(), all.end());
  return all;
}

}  // namespace

Coroutine<> run_upload(Exchange& exchange) {
  const Result<FileRecord> file = co_await upload_file(exchange);
  if (exchange.body->client_gone()) {
    exchange.keep_alive = false;
    co_return;
  }
  Reply reply = file ? json_reply(200, json::serialize(file_object(*file)))
                     : file_refusal(exchange, file.error());
  co_await exchange.send(std::move(reply));
}

Reply get_files(Exchange& exchange) {
  const Result<PageWish> wish = read_page(exchange, {kFilesPerPage, kFilesPerPage});
  if (!wish) return exchange.error_reply(wish.error());
  return page_reply(
      exchange, files_listed(exchange, wish->ascending), *wish,
      [](const FileRecord& file) -> const std::string& { return file.id; }, file_object);
}

Reply get_file(Exchange& exchange) {
  const std::optional<FileRecord> file = file_of(exchange);
  if (!file) return no_file(exchange);
  return json_reply(200, json::serialize(file_object(*file)));
}

Coroutine<> run_delete_file(Exchange& exchange) {
  if (!file_of(exchange)) {
    Reply refused = no_file(exchange);
    co_await exchange.send(std::move(refused));
    co_return;
  }
  std::function<void(std::function<void(Result<void>)>)> ask = [&exchange](auto done) {
    exchange.server.options.files->remove(exchange.name, std::move(done));
  };
  const Result<void> removed = co_await answer_to<Result<void>>(exchange.server.io, std::move(ask));
  Reply reply = json_reply(200, json::serialize(json::object{
                                    {"id", exchange.name}, {"object", "file"}, {"deleted", true}}));
  if (!removed) reply = file_refusal(exchange, removed.error());
  co_await exchange.send(std::move(reply));
}

// Read and sent piece by piece; a file that is deleted meanwhile is sent to its end.
Coroutine<> run_file_content(Exchange& exchange) {
  const std::optional<FileRecord> file = file_of(exchange);
  if (!file) {
    Reply refused = no_file(exchange);
    co_await exchange.send(std::move(refused));
    co_return;
  }
  FileStore& files = *exchange.server.options.files;
  const FileStore::Hold hold = files.hold(*file);
  Reply reply;
  reply.content_type = "application/octet-stream";
  if (exchange.server.draining) exchange.keep_alive = false;
  std::uint64_t sent = exchange.method == "HEAD" ? file->bytes : 0;
  bool head_sent = false;
  do {
    const auto piece = std::make_shared<Awaited<Result<std::string>>>(exchange.server.io);
    files.read(hold, sent, std::min<std::uint64_t>(kReadBytes, file->bytes - sent),
               [piece](Result<std::string> read) { piece->give(std::move(read)); });
    co_await wait_for(piece);
    if (!*piece->value && !head_sent) {
      Reply failed = file_refusal(exchange, piece->value->error());
      co_await exchange.send(std::move(failed));
      co_return;
    }
    std::string bytes = head_sent ? std::string() : exchange.head(reply, file->bytes);
    head_sent = exchange.answered = true;
    if (*piece->value) bytes += **piece->value;
    const bool whole = piece->value->ok();
    const bool written = co_await exchange.client.write(bytes);
    if (!written || !whole) {
      exchange.keep_alive = false;
      co_return;
    }
    sent += (*piece->value)->size();
  } while (sent < file->bytes);
}

}  // namespace glowplug::gateway
