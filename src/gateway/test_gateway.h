// The whole edge in one loop, for tests: raw client sockets, a double of the platform, a small
// replica on a Unix socket. Thread: one loop, run by run_until().
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unistd.h>
#include <vector>

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

#include "base/units.h"
#include "gateway/gateway.h"

namespace glowplug::gateway {

namespace asio = boost::asio;
inline constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

// Keeps what was asked of it.
class FakeCheckpoints final : public control::Checkpoints {
 public:
  using Served = Result<std::vector<control::ServedView>>;

  Result<std::vector<control::CheckpointView>> list(const std::string&) override { return views; }
  Result<control::CheckpointView> save(const std::string&, std::optional<int> step) override {
    if (refusal) return *refusal;
    asked.push_back("save " + (step ? std::to_string(*step) : "next"));
    return control::CheckpointView{.step = step.value_or(10), .revision = 3};
  }
  Result<void> remove(const std::string&, int step) override {
    if (refusal) return *refusal;
    asked.push_back("remove " + std::to_string(step));
    return {};
  }
  Served activate(const std::string&, int step) override {
    asked.push_back("activate " + std::to_string(step));
    return answer();
  }
  Served set_traffic(const std::string&, std::span<const domain::StepWeight> weights) override {
    std::string line = "traffic";
    for (const domain::StepWeight& one : weights)
      line += " " + std::to_string(one.step) + "=" + std::to_string(one.weight);
    asked.push_back(line);
    return answer();
  }
  Served roll_back(const std::string&) override {
    asked.push_back("roll back");
    return answer();
  }
  Served answer() const {
    if (refusal) return *refusal;
    return std::vector<control::ServedView>{{.revision = 3, .step = 10, .weight = 90},
                                            {.revision = 4, .step = {}, .weight = 10}};
  }

  std::vector<control::CheckpointView> views;
  std::vector<std::string> asked;
  std::optional<Error> refusal;
};

class FakePlatform final : public control::Platform {
 public:
  domain::CallId call(control::CallWish wish,
                      std::function<void(Result<control::Grant>, int)> done) override {
    if (throws) throw std::runtime_error("what nobody foresaw");
    const domain::CallId id{++calls};
    retries_of.push_back(wish.retry_of);
    salts.push_back(wish.domain.salt);
    urgencies.push_back(wish.urgency);
    if (hold) {
      held = std::move(done);
    } else if (wish.retry_of && retry_refusal) {
      done(*retry_refusal, 0);
    } else if (refusal) {
      done(*refusal, 7);
    } else {
      control::Grant grant = granting;
      grant.waited[domain::Phase::Queue] = Duration(0);
      grant.call = id;
      grant.endpoint.socket_path = socket_path;
      grant.manifest = views.at(wish.function).manifest;
      grant.revision = 3;
      done(grant, 0);
    }
    return id;
  }
  void abandon(domain::CallId) override { ++abandoned; }
  void finish(domain::CallId, control::CallOutcome outcome) override {
    ++finished;
    outcomes.push_back(outcome);
  }
  control::Blamed blames(domain::CallId call) const override {
    if (call != poison) return control::Blamed::No;
    return ++blames_asked > open_for ? blamed : control::Blamed::Open;
  }
  void began(const std::string& function, int revision, Duration after) override {
    first_tokens.push_back({function, revision, after});
  }
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
  Result<void> preload(const std::string& name, domain::Tier tier, Duration held_for) override {
    if (refusal) return *refusal;
    preloads.push_back(name + " " + std::string(to_string(tier)) + " " +
                       (held_for == kForever ? "ever" : format_duration(held_for)));
    return {};
  }
  Result<void> stop(const std::string&) override { return {}; }
  control::Checkpoints& checkpoints() override { return saved; }
  Result<domain::WatchId> watch(const std::string& name,
                                std::function<void(control::Change)> changed) override {
    if (refusal) return *refusal;
    const domain::WatchId id{++watches};
    watchers[id] = {name, std::move(changed)};
    return id;
  }
  void unwatch(domain::WatchId id) override {
    EXPECT_FALSE(gone);
    watchers.erase(id);
  }
  Result<domain::TuneId> tune(const control::TuneWish& wish,
                              std::function<void(const control::TuneNews&)> heard) override {
    if (refusal) return *refusal;
    tuning = std::move(heard);
    tune_wish = wish;
    return domain::TuneId{1};
  }
  void abandon_tune(domain::TuneId) override { tuning = nullptr; }
  void tell(const std::string& name, control::Change change) {
    for (const auto& [id, watcher] : watchers)
      if (watcher.first == name) watcher.second(change);
  }
  void each_function(const std::function<void(control::FunctionView)>& visit) const override {
    for (const auto& [name, view] : views) visit(view);
  }
  std::vector<control::DeviceView> devices() const override { return device_views; }
  std::optional<control::FunctionView> function(const std::string& name) const override {
    const auto found = views.find(name);
    if (found == views.end()) return std::nullopt;
    return found->second;
  }
  std::optional<control::CalleeView> callee(const std::string& name) const override {
    const auto found = views.find(name);
    if (found == views.end()) return std::nullopt;
    return control::CalleeView{found->second.manifest, found->second.facts};
  }
  std::vector<std::string> logs(const std::string&) const override { return {"a line"}; }
  std::vector<control::Decision> decisions() const override { return decided; }
  control::ProcessCounts process_counts() const override { return processes; }
  bool admitting() const override { return admits; }

  FakeCheckpoints saved;
  std::map<std::string, control::FunctionView> views;
  std::vector<control::DeviceView> device_views;
  std::map<domain::WatchId, std::pair<std::string, std::function<void(control::Change)>>> watchers;
  std::uint64_t watches = 0;
  std::function<void(const control::TuneNews&)> tuning;
  control::TuneWish tune_wish;
  std::string socket_path;
  control::Grant granting;  // what a grant says beside the call's own
  std::vector<control::Decision> decided;
  control::ProcessCounts processes;
  std::optional<Error> refusal, retry_refusal;
  std::function<void(Result<control::Grant>, int)> held;
  bool hold = false;
  bool throws = false;
  bool admits = true;
  bool gone = false;  // nobody may call it any more
  std::vector<std::string> preloads;
  std::uint64_t calls = 0;
  std::vector<control::AnswerBegan> first_tokens;
  std::vector<std::optional<domain::CallId>> retries_of;  // of each call
  std::vector<std::string> salts;                         // the same
  std::vector<domain::JobUrgency> urgencies;              // the same
  std::vector<control::CallOutcome> outcomes;
  domain::CallId poison{};
  control::Blamed blamed = control::Blamed::Yes;  // the poison, once that is known
  int open_for = 0;                               // before it is, in questions
  mutable int blames_asked = 0;
  int abandoned = 0;
  int finished = 0;
};

class GatewayTest : public testing::Test {
 protected:
  explicit GatewayTest(Duration replica_pulse = domain::kReplicaPulse)
      : path_("/tmp/glowplug-gateway-test-" + std::to_string(::getpid()) + ".sock") {
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
    options.replica_pulse = replica_pulse;
    options.in_catalogue = [](std::string_view name) { return name == "gpt2"; };
    options.read_manifest = [](std::string_view,
                               std::string_view name) -> Result<domain::Manifest> {
      if (name == "throws") throw std::runtime_error("what nobody foresaw");
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
  // Answers every request on a connection with the next script; an empty script closes at once, and
  // after kSilent nothing comes. Says so at /health while it is `healthy_`.
  asio::awaitable<void> serve_replica(asio::local::stream_protocol::socket socket) {
    std::string buffer;
    while (true) {
      auto [ec, count] =
          co_await asio::async_read_until(socket, asio::dynamic_buffer(buffer), "\r\n\r\n", kAwait);
      if (ec) break;
      std::string head = buffer.substr(0, count);
      if (head.starts_with("GET /health ")) {
        buffer.erase(0, count);
        ++health_asked_;
        if (healthy_) co_await asio::async_write(socket, asio::buffer(kHealthy), kAwait);
        continue;
      }
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
      if (script == kSilent) continue;
      co_await asio::async_write(socket, asio::buffer(script), kAwait);
      if (break_after_) co_return;
    }
    ++replica_closed_;
  }

  void settle() {
    while (io_.poll() > 0) {}
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
  asio::awaitable<void> converse(std::string request, std::string mark, std::string& answer,
                                 bool& done) {
    co_await asio::async_write(*client_, asio::buffer(request), kAwait);
    char piece[4096];
    std::size_t seen = 0;  // of what was looked through before, all but what may begin the mark
    while (answer.find(mark, seen) == std::string::npos) {
      seen = answer.size() - std::min(answer.size(), mark.size());
      auto [ec, got] = co_await client_->async_read_some(asio::buffer(piece), kAwait);
      if (ec) break;
      answer.append(piece, got);
    }
    done = true;
  }
  static std::string post(const std::string& path, const std::string& body,
                          const std::string& headers = "") {
    return "POST " + path + " HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n" +
           headers + "content-length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }
  static std::string get(const std::string& path) {
    return "GET " + path + " HTTP/1.1\r\nhost: localhost\r\n\r\n";
  }
  static std::string chat(const std::string& more = "") {
    return post("/v1/chat/completions",
                R"({"model":"fn","messages":[{"role":"user","content":"x"}])" + more + "}");
  }
  static bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  }

  static constexpr std::string_view kSilent = "silent";
  static constexpr std::string_view kHealthy = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

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
  bool healthy_ = true;
  int health_asked_ = 0;
};

}  // namespace glowplug::gateway
