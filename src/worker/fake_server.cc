#include "worker/fake_server.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <ctime>
#include <map>
#include <memory>
#include <poll.h>
#include <thread>
#include <unistd.h>
#include <utility>

#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <boost/json.hpp>
#include <sys/socket.h>

#include "domain/errors.h"
#include "worker/fake_answer.h"
#include "worker/fake_embeddings.h"
#include "worker/fake_faults.h"
#include "worker/fake_replies.h"
#include "worker/fake_stream.h"

namespace glowplug::worker {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace json = boost::json;

using Clock = std::chrono::steady_clock;
using Socket = asio::local::stream_protocol::socket;
using Request = http::request<http::string_body>;

constexpr std::size_t kBodyBytesMax = 64 * 1024 * 1024;
constexpr std::chrono::milliseconds kFinishLimit{4000};

}  // namespace

// One connection on its own thread: reads requests and answers them until either side ends.
class FakeServer::Connection final {
 public:
  Connection(FakeServer& server, Socket socket) : server_(server), socket_(std::move(socket)) {}

  void run();

 private:
  bool answer(const Request& request);
  bool generate(const Request& request, Api api);
  PromptMemory::Placed place(const json::object& request, Answer& plan);
  bool send_stream(const Request& request, const Answer& plan);
  bool pace_token(int emitted, Clock::time_point started);
  bool reply(const Request& request, http::status status, std::string body, long restored_us = 0);
  bool reply(const Request& request, const Result<std::string>& body);
  bool refuse(const Request& request, const Error& error);
  bool raw(std::string_view bytes);

  FakeServer& server_;
  Socket socket_;
};

Result<void> FakeServer::listen() {
  ::unlink(options_.socket_path.c_str());
  try {
    const asio::local::stream_protocol::endpoint endpoint(options_.socket_path);
    acceptor_.open(endpoint.protocol());
    acceptor_.bind(endpoint);
    acceptor_.listen();
  } catch (const std::exception& failure) {
    return Error{std::string(domain::error::kServerError),
                 "the socket " + options_.socket_path + " cannot be bound: " + failure.what(), ""};
  }
  return {};
}

void FakeServer::serve() {
  for (;;) {
    pollfd watched[2] = {{close_.fd(), POLLIN, 0}, {acceptor_.native_handle(), POLLIN, 0}};
    if (::poll(watched, 2, -1) < 0 && errno != EINTR) break;
    if (watched[0].revents) break;
    boost::system::error_code failure;
    Socket socket(context_);
    acceptor_.accept(socket, failure);
    if (failure) continue;
    const int fd = socket.native_handle();
    {
      const std::lock_guard lock(mutex_);
      open_.insert(fd);
    }
    // Ends before the server does: serve() returns when open_ is empty.
    std::thread([this, fd,
                 connection = std::make_unique<Connection>(*this, std::move(socket))]() mutable {
      connection->run();
      const std::lock_guard lock(mutex_);
      open_.erase(fd);
      connection.reset();
      changed_.notify_all();
    }).detach();  // tidy: because serve() waits until the last one has left open_
  }
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return open_.empty(); });
}

void FakeServer::finish() {
  ::unlink(options_.socket_path.c_str());
  {
    std::unique_lock lock(mutex_);
    finishing_ = true;
    changed_.wait_for(lock, kFinishLimit, [this] { return counters_.running == 0; });
    stop_.raise();
    for (const int fd : open_) ::shutdown(fd, SHUT_RD);
  }
  close_.raise();
}

bool FakeServer::enter() {
  const std::lock_guard lock(mutex_);
  if (finishing_) return false;
  counters_.peak = std::max(counters_.peak, ++counters_.running);
  return true;
}

void FakeServer::leave(bool completed) {
  const std::lock_guard lock(mutex_);
  --counters_.running;
  if (completed) ++counters_.completed;
  changed_.notify_all();
}

void FakeServer::count_token() {
  const std::lock_guard lock(mutex_);
  ++counters_.tokens;
}

std::string FakeServer::stats() {
  const std::lock_guard lock(mutex_);
  return json::serialize(json::object{{"running", counters_.running},
                                      {"peak", counters_.peak},
                                      {"tokens", counters_.tokens},
                                      {"completed", counters_.completed}});
}

void FakeServer::Connection::run() {
  beast::flat_buffer buffer;
  for (;;) {
    http::request_parser<http::string_body> parser;
    parser.body_limit(kBodyBytesMax);
    boost::system::error_code failure;
    http::read(socket_, buffer, parser, failure);
    if (failure) return;
    const Request request = parser.release();
    if (!answer(request) || !request.keep_alive()) return;
  }
}

bool FakeServer::Connection::raw(std::string_view bytes) {
  boost::system::error_code failure;
  asio::write(socket_, asio::buffer(bytes), failure);
  return !failure;
}

bool FakeServer::Connection::reply(const Request& request, http::status status, std::string body,
                                   long restored_us) {
  http::response<http::string_body> response(status, request.version());
  if (restored_us > 0) response.set(kRestoredHeader, std::to_string(restored_us));
  response.set(http::field::content_type, "application/json; charset=utf-8");
  response.keep_alive(request.keep_alive());
  response.body() = std::move(body);
  response.prepare_payload();
  boost::system::error_code failure;
  http::write(socket_, response, failure);
  return !failure;
}

bool FakeServer::Connection::reply(const Request& request, const Result<std::string>& body) {
  return body ? reply(request, http::status::ok, *body) : refuse(request, body.error());
}

bool FakeServer::Connection::refuse(const Request& request, const Error& error) {
  json::object body{{"code", 400}, {"message", error.message}, {"type", "invalid_request_error"}};
  if (error.code == domain::error::kContextLengthExceeded) {
    body["type"] = "exceed_context_size_error";  // llama.cpp's word, which the gateway translates
    body["n_ctx"] = server_.options_.context;
  }
  return reply(request, http::status::bad_request,
               json::serialize(json::object{{"error", std::move(body)}}));
}

bool FakeServer::Connection::answer(const Request& request) {
  const std::string_view target(request.target().data(), request.target().size());
  const std::string_view path = target.substr(0, target.find('?'));
  if (request.method() == http::verb::get) {
    if (path == "/health") return reply(request, http::status::ok, R"({"status":"ok"})");
    if (path == "/fake/stats") return reply(request, http::status::ok, server_.stats());
    if (path == "/props") {
      return reply(request, http::status::ok,
                   json::serialize(json::object{
                       {"default_generation_settings", {{"n_ctx", server_.options_.context}}},
                       {"total_slots", server_.options_.slots}}));
    }
  }
  static const std::map<std::string_view, Api> kGeneration = {
      {"/v1/chat/completions", Api::kChat},
      {"/v1/completions", Api::kCompletions},
      {"/v1/responses", Api::kResponses},
      {"/v1/messages", Api::kMessages}};
  const auto api = kGeneration.find(path);
  if (request.method() == http::verb::post && api != kGeneration.end())
    return generate(request, api->second);
  if (request.method() == http::verb::post) {
    const auto parsed = parse_request(request.body());
    if (!parsed) return refuse(request, parsed.error());
    if (path == "/v1/embeddings") return reply(request, embeddings_body(*parsed));
    if (path == "/v1/rerank") return reply(request, rerank_body(*parsed));
    if (path == "/tokenize") return reply(request, http::status::ok, tokenize_body(*parsed));
    if (path == "/detokenize") return reply(request, http::status::ok, detokenize_body(*parsed));
    if (path == "/apply-template")
      return reply(request, http::status::ok, apply_template_body(*parsed));
    json::object count{{"input_tokens", count_prompt_tokens(*parsed)}};
    if (path == "/v1/messages/count_tokens")
      return reply(request, http::status::ok, json::serialize(count));
    if (path == "/v1/responses/input_tokens") {
      count["object"] = "response.input_tokens";
      return reply(request, http::status::ok, json::serialize(count));
    }
  }
  return reply(request, http::status::not_found,
               R"({"error":{"code":404,"message":"no such route","type":"not_found_error"}})");
}

bool FakeServer::Connection::generate(const Request& request, Api api) {
  const auto parsed = parse_request(request.body());
  if (!parsed) return refuse(request, parsed.error());
  auto plan = plan_answer(api, *parsed, server_.options_.context);
  if (!plan) return refuse(request, plan.error());
  if (!server_.enter()) {
    return reply(
        request, http::status::service_unavailable,
        R"({"error":{"code":503,"message":"the replica is stopping","type":"unavailable_error"}})");
  }
  {
    const std::lock_guard lock(server_.mutex_);
    const char* prefix = api == Api::kChat        ? "chatcmpl-"
                         : api == Api::kMessages  ? "msg_"
                         : api == Api::kResponses ? "resp_"
                                                  : "cmpl-";
    plan->id = prefix + std::to_string(++server_.serial_);
  }
  plan->created = std::time(nullptr);
  strike_request(server_.options_.fake, *parsed);
  const PromptMemory::Placed placed = place(*parsed, *plan);
  bool done = false;
  if (plan->stream) {
    done = send_stream(request, *plan);
  } else {
    const auto started = Clock::now();
    const int total = plan->completion_tokens();
    int emitted = 0;
    while (emitted < total && pace_token(emitted, started)) ++emitted;
    done =
        emitted == total && reply(request, http::status::ok, reply_body(*plan), plan->restored_us);
  }
  server_.leave(done);
  return done;
}

// One prompt with one answer has a slot and finds there what is left of an earlier one.
PromptMemory::Placed FakeServer::Connection::place(const json::object& request, Answer& plan) {
  const json::value* store = request.if_contains("store");
  const bool keeps = store == nullptr || !store->is_bool() || store->get_bool();
  const auto keep = keeps ? SlotBook::Keep::Yes : SlotBook::Keep::No;
  PromptMemory::Placed placed;
  std::vector<Token> tokens = word_tokens(prompt_text(request));
  if (plan.choices.size() == 1) placed = server_.memory_.place(tokens, keep);
  if (placed.slot() < 0) {
    (void)server_.memory_.leave_to_engine(keep);  // no state of this engine is beyond cutting
    return placed;
  }
  plan.cached_tokens = static_cast<int>(server_.slots_.compute(placed.slot(), tokens));
  placed.computed();
  plan.restored_us = placed.restored_in().count();
  return placed;
}

bool FakeServer::Connection::send_stream(const Request& request, const Answer& plan) {
  http::response<http::empty_body> head(http::status::ok, request.version());
  head.set(http::field::content_type, "text/event-stream");
  head.set(http::field::cache_control, "no-cache");
  if (plan.restored_us > 0) head.set(kRestoredHeader, std::to_string(plan.restored_us));
  head.keep_alive(request.keep_alive());
  head.chunked(true);
  http::response_serializer<http::empty_body> serializer(head);
  boost::system::error_code failure;
  http::write_header(socket_, serializer, failure);
  if (failure) return false;

  const auto send = [this](const std::string& events) {
    if (events.empty()) return true;
    boost::system::error_code broken;
    asio::write(socket_, http::make_chunk(asio::buffer(events)), broken);
    return !broken;
  };
  const auto stream = make_stream(plan);
  const auto started = Clock::now();
  if (!send(stream->opening())) return false;
  int emitted = 0;
  std::size_t longest = 0;
  for (const Choice& choice : plan.choices) longest = std::max(longest, choice.pieces.size());
  for (std::size_t i = 0; i < longest; ++i) {
    for (std::size_t c = 0; c < plan.choices.size(); ++c) {
      if (i >= plan.choices[c].pieces.size()) continue;
      if (!pace_token(emitted++, started) || !send(stream->piece(c, i))) return false;
    }
  }
  return send(stream->closing()) && raw("0\r\n\r\n");
}

// Waits for the next token's turn and applies the faults that strike at a token. False ends the
// answer.
bool FakeServer::Connection::pace_token(int emitted, Clock::time_point started) {
  const FakeOptions& fake = server_.options_.fake;
  strike_token(fake, emitted);
  auto due = Clock::now();
  if (fake.fault == FakeFault::kHangAfterTokens && emitted >= fake.fault_tokens) {
    due = Clock::time_point::max();
  } else if (fake.tokens_per_second > 0) {
    due = started + std::chrono::duration_cast<Clock::duration>(
                        std::chrono::duration<double>((emitted + 1) / fake.tokens_per_second));
  }
  if (!wait_until(socket_.native_handle(), server_.stop_, due)) return false;
  server_.count_token();
  return true;
}

}  // namespace glowplug::worker
