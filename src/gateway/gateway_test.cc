// The whole edge in one loop: raw client sockets, a double of the platform, a small replica on a
// Unix socket.
#include "gateway/gateway.h"

#include <map>
#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <gtest/gtest.h>
#include <sys/socket.h>

namespace glowplug::gateway {
namespace {

namespace asio = boost::asio;
constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

class FakePlatform final : public control::Platform {
 public:
  domain::CallId call(control::CallWish wish,
                      std::function<void(Result<control::Grant>, int)> done) override {
    const domain::CallId id{++calls};
    if (hold) {
      held = std::move(done);
    } else if (refusal) {
      done(*refusal, 7);
    } else {
      control::Grant grant;
      grant.call = id;
      grant.endpoint.socket_path = socket_path;
      grant.manifest = views.at(wish.function).manifest;
      grant.revision = 3;
      done(grant, 0);
    }
    return id;
  }
  void abandon(domain::CallId) override { ++abandoned; }
  void finish(domain::CallId, control::CallOutcome) override { ++finished; }
  Result<control::PutOutcome> put(const domain::Manifest& manifest, std::optional<int>) override {
    views[manifest.name].manifest = manifest;
    return control::PutOutcome{1, true, true};
  }
  Result<void> remove(const std::string& name) override {
    if (views.erase(name) == 0)
      return Error{"model_not_found", "There is no function " + name + ".", "name"};
    return {};
  }
  Result<void> warm(const std::string&, int, Duration) override { return {}; }
  Result<void> stop(const std::string&) override { return {}; }
  std::vector<control::FunctionView> functions() const override {
    std::vector<control::FunctionView> all;
    for (const auto& [name, view] : views) all.push_back(view);
    return all;
  }
  std::optional<control::FunctionView> function(const std::string& name) const override {
    const auto found = views.find(name);
    if (found == views.end()) return std::nullopt;
    return found->second;
  }
  std::vector<std::string> logs(const std::string&) const override { return {"a line"}; }
  std::vector<control::Decision> decisions() const override { return {}; }
  bool admitting() const override { return admits; }

  std::map<std::string, control::FunctionView> views;
  std::string socket_path;
  std::optional<Error> refusal;
  std::function<void(Result<control::Grant>, int)> held;
  bool hold = false;
  bool admits = true;
  std::uint64_t calls = 0;
  int abandoned = 0;
  int finished = 0;
};

std::string whole(std::string_view body) {
  return "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: " +
         std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}
std::string chunk(std::string_view event) {
  char size[20];
  std::snprintf(size, sizeof size, "%zx\r\n", event.size());
  return size + std::string(event) + "\r\n";
}
const std::string kStreamHead =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const std::string kText =
    chunk("data: {\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n");
const std::string kUsage =
    chunk("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n");
const std::string kDone = chunk("data: [DONE]\n\n") + "0\r\n\r\n";

class GatewayTest : public testing::Test {
 protected:
  GatewayTest() : path_("/tmp/glowplug-gateway-test-" + std::to_string(::getpid()) + ".sock") {
    ::unlink(path_.c_str());
    replica_ = std::make_unique<asio::local::stream_protocol::acceptor>(io_, path_);
    asio::co_spawn(io_, accept_replica(), asio::detached);
    platform_.socket_path = path_;
    control::FunctionView view;
    view.manifest.name = "fn";
    view.manifest.engine.kind = domain::EngineKind::Fake;
    platform_.views["fn"] = view;
    GatewayOptions options;
    options.version = "test";
    options.in_catalogue = [](std::string_view name) { return name == "gpt2"; };
    options.read_manifest = [](std::string_view,
                               std::string_view name) -> Result<domain::Manifest> {
      domain::Manifest manifest;
      manifest.name = name;
      if (name == "proc") manifest.engine.kind = domain::EngineKind::Process;
      return manifest;
    };
    gateway_ = std::make_unique<Gateway>(io_, std::move(options), platform_, clock_);
    EXPECT_TRUE(gateway_->open().ok());
    connect();
  }
  ~GatewayTest() override { ::unlink(path_.c_str()); }

  void connect() {
    client_ = std::make_unique<asio::ip::tcp::socket>(io_);
    client_->connect(
        {asio::ip::address_v4::loopback(), static_cast<unsigned short>(gateway_->port())});
  }

  asio::awaitable<void> accept_replica() {
    while (true) {
      auto [ec, socket] = co_await replica_->async_accept(kAwait);
      if (ec) co_return;
      asio::co_spawn(io_, serve_replica(std::move(socket)), asio::detached);
    }
  }
  // Answers every request on a connection with the next script; an empty script closes at once.
  asio::awaitable<void> serve_replica(asio::local::stream_protocol::socket socket) {
    std::string buffer;
    while (true) {
      auto [ec, count] =
          co_await asio::async_read_until(socket, asio::dynamic_buffer(buffer), "\r\n\r\n", kAwait);
      if (ec) break;
      std::string head = buffer.substr(0, count);
      const std::size_t length = std::stoul(head.substr(head.find("content-length: ") + 16));
      while (buffer.size() < count + length) {
        char piece[4096];
        auto [read_ec, got] = co_await socket.async_read_some(asio::buffer(piece), kAwait);
        if (read_ec) co_return;
        buffer.append(piece, got);
      }
      seen_ = buffer.substr(0, count + length);
      buffer.erase(0, count + length);
      const std::string script = scripts_.empty() ? "" : scripts_.front();
      if (!scripts_.empty()) scripts_.erase(scripts_.begin());
      if (script.empty()) co_return;
      co_await asio::async_write(socket, asio::buffer(script), kAwait);
      if (break_after_) co_return;
    }
    ++replica_closed_;
  }

  bool run_until(const std::function<bool()>& reached) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    while (!reached() && std::chrono::steady_clock::now() < end)
      io_.run_one_for(std::chrono::milliseconds(50));
    return reached();
  }
  // Sends it and reads until `mark` or the end of the connection.
  std::string talk(const std::string& request, const std::string& mark = "}}") {
    std::string answer;
    bool done = false;
    asio::co_spawn(io_, converse(request, mark, answer, done), asio::detached);
    EXPECT_TRUE(run_until([&done] { return done; })) << answer;
    return answer;
  }
  asio::awaitable<void> converse(const std::string& request, const std::string& mark,
                                 std::string& answer, bool& done) {
    co_await asio::async_write(*client_, asio::buffer(request), kAwait);
    char piece[4096];
    while (answer.find(mark) == std::string::npos) {
      auto [ec, got] = co_await client_->async_read_some(asio::buffer(piece), kAwait);
      if (ec) break;
      answer.append(piece, got);
    }
    done = true;
  }
  static std::string post(const std::string& path, const std::string& body,
                          const std::string& headers = "") {
    return "POST " + path + " HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n" + headers +
           "content-length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }
  static std::string get(const std::string& path) {
    return "GET " + path + " HTTP/1.1\r\nhost: x\r\n\r\n";
  }
  static std::string chat(const std::string& more = "") {
    return post("/v1/chat/completions",
                R"({"model":"fn","messages":[{"role":"user","content":"x"}])" + more + "}");
  }
  static bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  }

  SystemClock clock_;
  FakePlatform platform_;
  asio::io_context io_;
  std::string path_;
  std::unique_ptr<asio::local::stream_protocol::acceptor> replica_;
  std::unique_ptr<Gateway> gateway_;
  std::unique_ptr<asio::ip::tcp::socket> client_;
  std::vector<std::string> scripts_;
  std::string seen_;
  bool break_after_ = false;
  int replica_closed_ = 0;
};

TEST_F(GatewayTest, RefusalsOnOneConnection_AllKeepItUsable) {
  EXPECT_TRUE(has(talk(get("/nope")), "404"));
  const std::string wrong = talk(get("/v1/chat/completions"));
  EXPECT_TRUE(has(wrong, "HTTP/1.1 405"));
  EXPECT_TRUE(has(wrong, "allow: POST, OPTIONS"));
  EXPECT_TRUE(has(wrong, "x-request-id: req_"));
  const std::string broken = talk(post("/v1/chat/completions", "{\"model\":"));
  EXPECT_TRUE(has(broken, "invalid_json")) << broken;
  EXPECT_TRUE(has(broken, "byte 9"));
  EXPECT_TRUE(has(talk(post("/v1/chat/completions", R"({"model":"none","messages":[]})")),
                  "The model `none` does not exist or you do not have access to it."));
  EXPECT_TRUE(
      has(talk(post("/v1/chat/completions", R"({"model":"gpt2"})")), "glowplug deploy gpt2"));
  EXPECT_TRUE(has(talk(get("/v1/functions/%2e%2e%2fx")), "HTTP/1.1 404"));
  EXPECT_TRUE(has(talk(get("/healthz"), "ok\"}"), "HTTP/1.1 200"));
  EXPECT_EQ(platform_.calls, 0u);
}

TEST_F(GatewayTest, BodyOverTheLimit_Is413BeforeItIsRead) {
  const std::string answer =
      talk("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 900000000\r\n\r\n{",
           "\"code\"");
  EXPECT_TRUE(has(answer, "HTTP/1.1 413")) << answer;
}

TEST_F(GatewayTest, HeaderOverTheLimit_Is431) {
  const std::string answer =
      talk("GET / HTTP/1.1\r\nx: " + std::string(70 * 1024, 'a') + "\r\n\r\n", "\"code\"");
  EXPECT_TRUE(has(answer, "HTTP/1.1 431")) << answer;
}

TEST_F(GatewayTest, LengthAndChunkedTogether_Is400AndTheConnectionEnds) {
  const std::string answer = talk(
      "POST /v1/invoke HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ntransfer-encoding: "
      "chunked\r\n\r\n0\r\n\r\n"
      "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
      "no such text");
  EXPECT_TRUE(has(answer, "HTTP/1.1 400")) << answer;
  EXPECT_FALSE(has(answer, "HTTP/1.1 200"));
}

TEST_F(GatewayTest, WholeAnswer_IsRenamedAndCarriesTheHeaders) {
  scripts_ = {
      whole(R"({"model":"m","timings":{},"usage":{"prompt_tokens":1,"completion_tokens":2}})")};
  const std::string answer = talk(chat(R"(,"id_slot":3)"));
  EXPECT_TRUE(has(answer, "HTTP/1.1 200")) << answer;
  EXPECT_TRUE(has(answer, R"("model":"fn")"));
  EXPECT_TRUE(has(answer, "x-glowplug-revision: 3"));
  EXPECT_TRUE(has(answer, "server-timing: queue;dur="));
  EXPECT_FALSE(has(seen_, "id_slot"));
  EXPECT_EQ(platform_.finished, 1);
  const std::string metrics = talk(get("/metrics"), "glowplug_memory_bytes{function=\"fn\"} 0");
  EXPECT_TRUE(has(metrics, "glowplug_tokens_total{function=\"fn\",kind=\"completion\"} 2"))
      << metrics;
}

TEST_F(GatewayTest, Stream_HidesUsageThatWasNotAskedFor) {
  scripts_ = {kStreamHead + kText + kUsage + kDone, kStreamHead + kText + kUsage + kDone};
  const std::string plain = talk(chat(R"(,"stream":true)"), "0\r\n\r\n");
  EXPECT_TRUE(has(plain, "text/event-stream"));
  EXPECT_FALSE(has(plain, "usage"));
  EXPECT_TRUE(has(plain, "data: [DONE]"));
  const std::string asked =
      talk(chat(R"(,"stream":true,"stream_options":{"include_usage":true})"), "0\r\n\r\n");
  EXPECT_TRUE(has(asked, "\"usage\":null"));
  EXPECT_TRUE(has(asked, "\"completion_tokens\":2"));
  EXPECT_TRUE(run_until([this] { return platform_.finished == 2; }));
}

TEST_F(GatewayTest, ReplicaBreaksMidStream_ErrorEventAndNoProperEnd) {
  scripts_ = {kStreamHead + kText};
  break_after_ = true;
  const std::string answer = talk(chat(R"(,"stream":true)"), "no such text");
  EXPECT_TRUE(has(answer, "replica_failed")) << answer;
  EXPECT_FALSE(has(answer, "[DONE]"));
  EXPECT_FALSE(has(answer, "\r\n0\r\n\r\n"));
  EXPECT_EQ(platform_.finished, 1);
}

TEST_F(GatewayTest, ReplicaFailsBeforeItAnswers_IsTriedOnceMore) {
  scripts_ = {"", whole(R"({"model":"m","usage":{"a":{}}})")};
  EXPECT_TRUE(has(talk(chat()), "HTTP/1.1 200"));
  EXPECT_EQ(platform_.finished, 2);
  scripts_ = {"", ""};
  EXPECT_TRUE(has(talk(chat()), "HTTP/1.1 502"));
  EXPECT_EQ(platform_.finished, 4);
}

TEST_F(GatewayTest, ClientLeavesMidStream_ReplicaIsClosedAndSlotsAreFree) {
  scripts_ = {kStreamHead + kText};
  talk(chat(R"(,"stream":true)"), "hi");
  client_->close();
  EXPECT_TRUE(run_until([this] { return platform_.finished == 1 && replica_closed_ == 1; }));
}

TEST_F(GatewayTest, ClientLeavesWhileWaiting_CallIsAbandoned) {
  platform_.hold = true;
  asio::write(*client_, asio::buffer(chat()));
  EXPECT_TRUE(run_until([this] { return platform_.calls == 1; }));
  client_->close();
  EXPECT_TRUE(run_until([this] { return platform_.abandoned == 1; }));
  EXPECT_EQ(platform_.finished, 0);
}

TEST_F(GatewayTest, Refusal_CarriesRetryAfter) {
  platform_.refusal = Error{"queue_full", "512 calls wait.", ""};
  const std::string answer = talk(chat());
  EXPECT_TRUE(has(answer, "HTTP/1.1 503"));
  EXPECT_TRUE(has(answer, "retry-after: 7\r\n"));
  EXPECT_TRUE(has(answer, "retry-after-ms: 7000\r\n"));
  platform_.refusal = Error{"does_not_fit", "Too big.", ""};
  EXPECT_TRUE(has(talk(chat()), "x-should-retry: false"));
  EXPECT_EQ(platform_.finished + platform_.abandoned, 0);
}

TEST_F(GatewayTest, Invoke_AnswersInKind) {
  const std::string answer =
      R"({"choices":[{"text":" world"}],"usage":{"prompt_tokens":1,"completion_tokens":1}})";
  scripts_ = {whole(answer), whole(answer)};
  const std::string object =
      talk(post("/v1/functions/fn/invoke", R"({"body":{"prompt":"hello"}})"));
  EXPECT_TRUE(has(object, R"("statusCode":200)")) << object;
  EXPECT_TRUE(has(object, R"("body":{"text":"hello world")"));
  const std::string text =
      talk(post("/v1/invoke",
                R"({"body":"{\"model\":\"fn\",\"prompt\":\"hello\",\"return_full_text\":false}"})"),
           "}}\"}");
  EXPECT_TRUE(has(text, R"("body":"{\"text\":\" world\")")) << text;
  EXPECT_TRUE(has(talk(post("/v1/functions/fn/invoke", "{}"), "}}}"), R"("statusCode":400)"));
  EXPECT_TRUE(
      has(talk(post("/v1/invoke", R"({"body":{"prompt":"x"}})"), "}}}"), "glowplug deploy gpt2"));
  EXPECT_TRUE(has(talk(post("/v1/functions/fn/invoke", R"({"body":{"prompt":"x"}})",
                            "x-invocation-type: DryRun\r\n"),
                       "\r\n\r\n"),
                  "HTTP/1.1 204"));
}

TEST_F(GatewayTest, Functions_ArePutShownAndDeleted) {
  EXPECT_TRUE(has(talk("PUT /v1/functions/new HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n",
                       "changed\":true}"),
                  "HTTP/1.1 201"));
  EXPECT_TRUE(has(talk("PUT /v1/functions/proc HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"),
                  "HTTP/1.1 403"));
  EXPECT_TRUE(has(talk(get("/v1/functions/new"), "failover"), "\"manifest\":{"));
  EXPECT_TRUE(has(talk(get("/v1/models"), "]}"), "\"id\":\"new\""));
  const std::string remove = "DELETE /v1/functions/new HTTP/1.1\r\nhost: x\r\n\r\n";
  EXPECT_TRUE(has(talk(remove, "\r\n\r\n"), "HTTP/1.1 204"));
  EXPECT_TRUE(has(talk(remove), "HTTP/1.1 404"));
}

TEST_F(GatewayTest, Draining_IsNotReadyAndEndsConnections) {
  platform_.admits = false;
  EXPECT_TRUE(has(talk(get("/readyz")), "HTTP/1.1 503"));
  gateway_->stop_accepting();
  EXPECT_EQ(talk(get("/healthz"), "no such text").find("HTTP/1.1 2"), std::string::npos);
}

TEST(ParseListen, Addresses_AreReadOrRefused) {
  EXPECT_EQ(parse_listen("127.0.0.1:4569").value(), (ListenAddress{"127.0.0.1", 4569}));
  EXPECT_EQ(parse_listen(":0").value().host, "127.0.0.1");
  EXPECT_EQ(parse_listen("[::1]:1").value().host, "::1");
  for (const char* text :
       {"", "4569", "127.0.0.1:", "127.0.0.1:70000", "name:1", "::1:1", "1.2.3.4:x"}) {
    EXPECT_FALSE(parse_listen(text).ok()) << text;
  }
}

TEST(Listen, PublicAddressOrTakenPort_IsRefused) {
  asio::io_context io;
  FakePlatform platform;
  SystemClock clock;
  GatewayOptions options;
  options.listen.host = "0.0.0.0";
  Gateway open_to_all(io, options, platform, clock);
  EXPECT_EQ(open_to_all.open().error().code, "forbidden");
  asio::ip::tcp::acceptor other(io, {asio::ip::address_v4::loopback(), 0});
  options.listen = ListenAddress{"127.0.0.1", other.local_endpoint().port()};
  Gateway second(io, options, platform, clock);
  EXPECT_EQ(second.open().error().code, "server_error");
}

}  // namespace
}  // namespace glowplug::gateway
