// The service and the registry over a real state file, with a double of the transfers.
#include "queue/webhook_service.h"

#include <algorithm>
#include <atomic>
#include <deque>

#include <gtest/gtest.h>

#include "queue/webhook_registry.h"
#include "storage/test_store.h"

namespace glowplug::queue {
namespace {

using namespace std::chrono_literals;
using storage::WebhookDelivery;
using storage::WebhookEndpoint;
using storage::WebhookState;

class FakePosts final : public models::HttpPost {
 public:
  struct Sent {
    models::PostRequest request;
    std::function<void(models::PostReply)> done;
    std::string header(const std::string& name) const {
      for (const std::string& line : request.headers)
        if (line.starts_with(name + ": ")) return line.substr(name.size() + 2);
      return {};
    }
  };
  void post(models::PostRequest request, std::function<void(models::PostReply)> done) override {
    sent.push_back({std::move(request), std::move(done)});
  }
  std::deque<Sent> sent;
};

class WebhookServiceTest : public storage::StoreTest {
 protected:
  WebhookServiceTest() {
    open();
    start();
  }
  ~WebhookServiceTest() override { stop(); }

  void start() {
    auto reader = storage::ReadLoop::open(
        writer_->path(), [this](std::function<void()> call) { inbox_.put(std::move(call)); });
    ASSERT_TRUE(reader.ok()) << reader.error().message;
    reader_ = std::move(*reader);
    service_ = std::make_unique<WebhookService>(WebhookService::Parts{
        .writes = *writer_,
        .reads = *reader_,
        .posts = posts_,
        .clock = clock_,
        .queue_ms = [this] { return queue_ms_.load(); },
        .wake =
            [this](Duration after, std::function<void()> then) {
              wake_after_ = after;
              wake_ = std::move(then);
            },
        .host_of = [](const std::string& url) { return url.substr(0, url.find('/', 8)); }});
    registry_ = std::make_unique<WebhookRegistry>(
        WebhookRegistry::Parts{.writes = *writer_,
                               .reads = *reader_,
                               .clock = clock_,
                               .queue_ms = [this] { return queue_ms_.load(); },
                               .rule = {},
                               .changed = [this] { service_->poke(); },
                               .counts = [this] { return service_->counts(); }});
    service_->start();
    idle();
  }
  void stop() {
    registry_.reset();
    service_.reset();
    reader_.reset();
  }

  // Everything posted so far, and what follows of it, is done.
  void idle() {
    for (int round = 0; round < 6; ++round) {
      bool written = false, read = false;
      writer_->post([](storage::Database&) { return Result<void>(); },
                    [&written](const Result<void>&) { written = true; }, storage::Need::Must);
      ASSERT_TRUE(inbox_.drain_until([&written] { return written; }));
      reader_->post([](storage::Database&) { return Result<void>(); },
                    [&read](const Result<void>&) { read = true; });
      ASSERT_TRUE(inbox_.drain_until([&read] { return read; }));
    }
  }
  WebhookEndpoint add(const std::string& url, std::vector<std::string> events = {}) {
    WebhookEndpoint made;
    registry_->add(url, std::move(events), [&made](Result<WebhookEndpoint> added) {
      EXPECT_TRUE(added.ok());
      if (added) made = *added;
    });
    idle();
    return made;
  }
  void emit(const std::string& type, const std::string& url = {}) {
    const EmitWebhook hook = service_->emit();
    EXPECT_TRUE(writer_->run([&](storage::Database& database) {
      return hook(database,
                  {.type = type, .object_id = "job_1", .url = url, .traceparent = "trace-1"});
    }));
    service_->poke();
    idle();
  }
  void answer(int status, std::optional<Duration> retry_after = {}) {
    ASSERT_FALSE(posts_.sent.empty());
    auto done = std::move(posts_.sent.front().done);
    posts_.sent.pop_front();
    done({.status = status, .retry_after = retry_after, .failure = status ? "" : "silent"});
    idle();
  }
  void advance(Duration by) {
    queue_ms_ += std::chrono::duration_cast<std::chrono::milliseconds>(by).count();
    clock_.advance(by);
    service_->poke();
    idle();
  }
  std::vector<WebhookDelivery> rows(const std::string& endpoint) {
    std::vector<WebhookDelivery> found;
    registry_->deliveries(endpoint, {.state = {}, .before = 0, .limit = 100},
                          [&found](Result<std::vector<WebhookDelivery>> read) {
                            if (read) found = *read;
                          });
    idle();
    return found;
  }

  std::atomic<std::int64_t> queue_ms_ = 1'000'000;
  ManualClock clock_;
  FakePosts posts_;
  std::unique_ptr<storage::ReadLoop> reader_;
  std::unique_ptr<WebhookService> service_;
  std::unique_ptr<WebhookRegistry> registry_;
  Duration wake_after_{};
  std::function<void()> wake_;
};

TEST_F(WebhookServiceTest, Event_GoesToWhoeverWantsItsType) {
  add("https://a.example/", {"job.completed"});
  add("https://b.example/");
  add("https://c.example/", {"job.failed"});
  emit("job.completed");
  ASSERT_EQ(posts_.sent.size(), 2U);
  // In which order is not said: endpoints have random ids.
  EXPECT_EQ((std::set<std::string>{posts_.sent[0].request.url, posts_.sent[1].request.url}),
            (std::set<std::string>{"https://a.example/", "https://b.example/"}));
  EXPECT_EQ(posts_.sent[0].header("webhook-id"), posts_.sent[1].header("webhook-id"));
  EXPECT_EQ(posts_.sent[0].header("traceparent"), "trace-1");
  EXPECT_NE(posts_.sent[0].request.body.find(R"("data":{"id":"job_1"})"), std::string::npos);
}

TEST_F(WebhookServiceTest, Failure_IsTriedAgainWithTheSameIdAndANewTime) {
  const std::string id = add("https://a.example/").id;
  emit("job.completed");
  const FakePosts::Sent first = posts_.sent.at(0);
  answer(500);
  EXPECT_TRUE(posts_.sent.empty());
  EXPECT_LE(wake_after_, 6s);
  advance(4s);
  EXPECT_TRUE(posts_.sent.empty());
  advance(2s);
  ASSERT_EQ(posts_.sent.size(), 1U);
  EXPECT_EQ(posts_.sent[0].header("webhook-id"), first.header("webhook-id"));
  EXPECT_NE(posts_.sent[0].header("webhook-timestamp"), first.header("webhook-timestamp"));
  EXPECT_EQ(posts_.sent[0].request.body, first.request.body);
  answer(204);
  ASSERT_EQ(rows(id).size(), 1U);
  EXPECT_EQ(rows(id)[0].state, WebhookState::Delivered);
  EXPECT_EQ(rows(id)[0].attempts, 2);
  advance(1h);
  EXPECT_TRUE(posts_.sent.empty());
}

TEST_F(WebhookServiceTest, AttemptsUsedUp_IsDead_AndReplayBeginsAnew) {
  const std::string id = add("https://a.example/").id;
  emit("job.completed");
  for (int attempt = 1; attempt <= policy::kWebhookAttemptsMax; ++attempt) {
    ASSERT_EQ(posts_.sent.size(), 1U) << attempt;
    answer(500);
    advance(27h);
  }
  EXPECT_TRUE(posts_.sent.empty());
  ASSERT_EQ(rows(id).at(0).state, WebhookState::Dead);
  bool replayed = false;
  registry_->replay(rows(id)[0].id,
                    [&replayed](const Result<WebhookDelivery>& row) { replayed = row.ok(); });
  idle();
  EXPECT_TRUE(replayed);
  ASSERT_EQ(posts_.sent.size(), 1U);
  answer(200);
  EXPECT_EQ(rows(id).at(0).state, WebhookState::Delivered);
}

TEST_F(WebhookServiceTest, Gone_DisablesTheEndpointAndWhatWaitsForIt) {
  const std::string id = add("https://a.example/").id;
  for (int i = 0; i < 4; ++i) emit("job.completed");
  ASSERT_EQ(posts_.sent.size(), 2U);
  answer(410);
  for (const WebhookDelivery& row : rows(id)) EXPECT_EQ(row.state, WebhookState::Dead);
  emit("job.completed");
  EXPECT_EQ(rows(id).size(), 4U);
}

TEST_F(WebhookServiceTest, EndpointThatHangs_TakesItsPlacesAndNoOthers) {
  add("https://slow.example/");
  for (int i = 0; i < 20; ++i) emit("job.completed");
  EXPECT_EQ(posts_.sent.size(), 2U);
  add("https://quick.example/");
  emit("job.failed");
  ASSERT_EQ(posts_.sent.size(), 3U);
  EXPECT_EQ(posts_.sent[2].request.url, "https://quick.example/");
  answer(0);  // of the one that hangs: it rests
  answer(0);
  EXPECT_EQ(posts_.sent.size(), 1U);
  advance(4s);
  EXPECT_EQ(posts_.sent.size(), 1U);
  advance(7s);  // the second silence doubled the rest
  EXPECT_EQ(posts_.sent.size(), 3U);
}

TEST_F(WebhookServiceTest, EndpointsOfOneHost_TakeTurns) {
  add("https://a.example/one");
  for (int i = 0; i < 20; ++i) emit("job.completed");
  const std::string other = "https://a.example/two";
  add(other);
  emit("job.failed");
  ASSERT_EQ(posts_.sent.size(), 2U);  // the places of the host
  answer(200);
  answer(200);
  EXPECT_TRUE(
      std::any_of(posts_.sent.begin(), posts_.sent.end(),
                  [&other](const FakePosts::Sent& one) { return one.request.url == other; }));
}

TEST_F(WebhookServiceTest, JobsOwnAddresses_ShareByHost) {
  for (int i = 0; i < 100; ++i) emit("job.completed", "https://slow.example/" + std::to_string(i));
  EXPECT_EQ(posts_.sent.size(), 2U);
  emit("job.completed", "https://quick.example/");
  ASSERT_EQ(posts_.sent.size(), 3U);
  EXPECT_EQ(posts_.sent[2].request.url, "https://quick.example/");
}

TEST_F(WebhookServiceTest, ServerThatEnds_SendsAgainWhatWasUnderWay) {
  add("https://a.example/");
  emit("job.completed");
  const std::string id = posts_.sent.at(0).header("webhook-id");
  stop();
  posts_.sent.clear();
  open();
  start();
  ASSERT_EQ(posts_.sent.size(), 1U);
  EXPECT_EQ(posts_.sent[0].header("webhook-id"), id);
}

TEST_F(WebhookServiceTest, EventOfATransactionThatFails_IsNone) {
  const std::string id = add("https://a.example/").id;
  const EmitWebhook hook = service_->emit();
  EXPECT_FALSE(writer_->run([&](storage::Database& database) -> Result<void> {
    if (auto done = hook(database, {.type = "job.completed", .object_id = "x"}); !done) return done;
    return Error{"server_error", "after it", {}};
  }));
  service_->poke();
  idle();
  EXPECT_TRUE(rows(id).empty() && posts_.sent.empty());
}

TEST_F(WebhookServiceTest, Rotation_SignsWithBothUntilTheGraceEnds) {
  const std::string id = add("https://a.example/").id;
  registry_->rotate(id, 1h, [](const Result<WebhookEndpoint>& done) { EXPECT_TRUE(done.ok()); });
  idle();
  emit("job.completed");
  const auto signatures = [this] {
    const std::string all = posts_.sent.at(0).header("webhook-signature");
    return std::count(all.begin(), all.end(), ',');
  };
  EXPECT_EQ(signatures(), 2);
  answer(200);
  advance(2h);
  emit("job.completed");
  EXPECT_EQ(signatures(), 1);
}

TEST_F(WebhookServiceTest, WhatIsOver_IsForgottenInTime) {
  const std::string id = add("https://a.example/").id;
  emit("job.completed");
  answer(200);
  advance(std::chrono::milliseconds(kWebhookKeptMs) - 1h);
  EXPECT_EQ(rows(id).size(), 1U);
  advance(2h);
  EXPECT_TRUE(rows(id).empty());
}

TEST_F(WebhookServiceTest, Removed_TakesItsDeliveriesAlong) {
  const std::string id = add("https://a.example/").id;
  emit("job.completed");
  registry_->remove(id, [](const Result<void>& done) { EXPECT_TRUE(done.ok()); });
  idle();
  answer(500);
  advance(1h);
  EXPECT_TRUE(posts_.sent.empty());
  bool found = true;
  registry_->remove(id, [&found](const Result<void>& done) { found = done.ok(); });
  registry_->remove("jobs", [&found](const Result<void>& done) { found = found || done.ok(); });
  idle();
  EXPECT_FALSE(found);
}

}  // namespace
}  // namespace glowplug::queue
