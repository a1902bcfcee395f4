// Webhook routes over a real socket, with a double of what keeps them.
#include "gateway/test_gateway.h"
#include "queue/webhook_admin.h"

namespace glowplug::gateway {
namespace {

using storage::WebhookDelivery;
using storage::WebhookEndpoint;

// Keeps what was asked of it; answers at once, or later where it holds.
class FakeWebhooks final : public queue::WebhookAdmin {
 public:
  Result<void> check_url(std::string_view) const override { return {}; }
  void list(Done<std::vector<WebhookEndpoint>> done) override {
    answer<std::vector<WebhookEndpoint>>("list", endpoints, std::move(done));
  }
  void add(std::string url, std::vector<std::string> events, Done<WebhookEndpoint> done) override {
    std::string line = "add " + url;
    for (const std::string& one : events) line += " " + one;
    WebhookEndpoint made{.id = "we_1", .url = url, .events = events, .secret = "whsec_new"};
    answer<WebhookEndpoint>(line, made, std::move(done));
  }
  void remove(std::string id, Done<void> done) override {
    answer_void("remove " + id, std::move(done));
  }
  void rotate(std::string id, Duration grace, Done<WebhookEndpoint> done) override {
    WebhookEndpoint made{
        .id = id, .secret = "whsec_new", .old_secret = "whsec_old", .old_until_ms = 61'000};
    answer<WebhookEndpoint>("rotate " + id + " " + format_duration(grace), made, std::move(done));
  }
  void enable(std::string id, Done<void> done) override {
    answer_void("enable " + id, std::move(done));
  }
  void test(std::string id, Done<std::string> done) override {
    answer<std::string>("test " + id, "evt_1", std::move(done));
  }
  void deliveries(std::string endpoint, storage::DeliveryPage page,
                  Done<std::vector<WebhookDelivery>> done) override {
    const std::string state = page.state ? std::string(to_string(*page.state)) : "any";
    answer<std::vector<WebhookDelivery>>("deliveries " + endpoint + " " + state + " " +
                                             std::to_string(page.before) + " " +
                                             std::to_string(page.limit),
                                         rows, std::move(done));
  }
  void replay(std::int64_t delivery, Done<WebhookDelivery> done) override {
    answer<WebhookDelivery>("replay " + std::to_string(delivery), WebhookDelivery{.id = delivery},
                            std::move(done));
  }
  queue::WebhookCounts counts() const override {
    return {.delivered = 3, .again = 2, .dead = 1, .under_way = 4, .kept = {7, 8, 9}};
  }
  std::int64_t queue_ms() const override { return 1'000; }

  std::vector<WebhookEndpoint> endpoints;
  std::vector<WebhookDelivery> rows;
  std::vector<std::string> asked;
  std::optional<Error> refusal;
  std::function<void(std::function<void()>)> later;  // set: answers come through it

 private:
  template <typename T>
  void answer(const std::string& line, T value, Done<T> done) {
    asked.push_back(line);
    const auto give = [done = std::move(done), value = std::move(value), refusal = refusal] {
      refusal ? done(*refusal) : done(value);
    };
    later ? later(give) : give();
  }
  void answer_void(const std::string& line, Done<void> done) {
    asked.push_back(line);
    refusal ? done(*refusal) : done({});
  }
};

class WebhookRoutesTest : public GatewayTest {
 protected:
  WebhookRoutesTest() {
    GatewayOptions options;
    options.webhooks = &webhooks_;
    gateway_ = std::make_unique<Gateway>(io_, std::move(options), platform_, clock_);
    EXPECT_TRUE(gateway_->open().ok());
    connect();
  }
  static std::string del(const std::string& path) {
    return "DELETE " + path + " HTTP/1.1\r\nhost: localhost\r\n\r\n";
  }
  std::string asked() const { return webhooks_.asked.empty() ? "" : webhooks_.asked.back(); }

  FakeWebhooks webhooks_;
};

const std::string kBase = "/v1/webhook-endpoints";

TEST_F(WebhookRoutesTest, Add_GivesTheSecret_AndListsDoNot) {
  const std::string made = talk(
      post(kBase, R"({"url":"https://h.example/","event_types":["job.completed","batch.failed"]})"),
      "}");
  EXPECT_EQ(asked(), "add https://h.example/ job.completed batch.failed");
  EXPECT_TRUE(has(made, "HTTP/1.1 201 ")) << made;
  EXPECT_TRUE(has(made, R"("id":"we_1","object":"webhook_endpoint","url":"https://h.example/",)"
                        R"("event_types":["job.completed","batch.failed"],"enabled":true)"))
      << made;
  EXPECT_TRUE(has(made, R"("signing_secret":"whsec_new")"));
  webhooks_.endpoints = {{.id = "jobs", .secret = "whsec_a"},
                         {.id = "we_2",
                          .url = "https://g.example/",
                          .events = {"job.failed"},
                          .secret = "whsec_b",
                          .old_secret = "whsec_c",
                          .old_until_ms = 3'500,
                          .disabled = "it answered 410",
                          .created_ms = 5'999}};
  const std::string list = talk(get(kBase), "]}");
  EXPECT_FALSE(has(list, "whsec_")) << list;
  EXPECT_TRUE(has(list, R"({"id":"jobs","object":"webhook_endpoint","url":null,"event_types":[)"
                        R"("job.completed","job.failed",)"))
      << list;
  EXPECT_TRUE(has(list, R"("event_types":["job.failed"],"enabled":false,)"
                        R"("disabled_reason":"it answered 410","old_secret_seconds_left":3,)"
                        R"("created_at":5})"))
      << list;
}

TEST_F(WebhookRoutesTest, AnswerThatComesLater_IsWaitedFor) {
  std::function<void()> held;
  webhooks_.later = [&held](std::function<void()> give) { held = std::move(give); };
  std::string answer;
  bool done = false;
  asio::co_spawn(io_, converse(get(kBase), "]}", answer, done), asio::detached);
  ASSERT_TRUE(run_until([&held] { return held != nullptr; }));
  settle();
  EXPECT_FALSE(done);
  held();
  ASSERT_TRUE(run_until([&done] { return done; }));
  EXPECT_TRUE(has(answer, R"({"object":"list","data":[]})")) << answer;
}

TEST_F(WebhookRoutesTest, BadInput_Is400WithTheFieldAndTheFix) {
  struct Case {
    std::string path, body, param, message;
  };
  for (const Case& one : std::vector<Case>{
           {kBase, "[]", "null", ""},
           {kBase, "{}", "url", "say where events go"},
           {kBase, R"({"url":5})", "url", ""},
           {kBase, R"({"url":"u","event_types":"job.failed"})", "event_types", ""},
           {kBase, R"({"url":"u","event_types":["job.done"]})", "event_types",
            R"(job.done\", which is no type of event; there are job.completed, )"},
           {kBase, R"({"url":"u","event_types":[7]})", "event_types", "holds 7"},
           {kBase, R"({"url":"u","event_types":[]})", "event_types", "leave it out for all"},
           {kBase, R"({"url":"u","events":[]})", "events", "event_types"},
           {kBase + "/we_1/rotate-secret", R"({"grace_period":"soon"})", "grace_period", "as 24h"},
           {kBase + "/we_1/rotate-secret", R"({"grace_period":"721h"})", "grace_period", ""},
           {kBase + "/we_1/rotate-secret", R"({"grace_period":-1})", "grace_period", ""},
           {kBase + "/we_1/rotate-secret", R"({"grace":"1h"})", "grace", ""}}) {
    const std::string answer = talk(post(one.path, one.body));
    EXPECT_TRUE(has(answer, "HTTP/1.1 400 ")) << one.body << answer;
    const std::string param = one.param == "null" ? "null" : "\"" + one.param + "\"";
    EXPECT_TRUE(has(answer, R"("param":)" + param)) << answer;
    EXPECT_TRUE(has(answer, one.message)) << answer;
  }
  for (const char* query :
       {"limit=0", "limit=101", "limit=x", "after=12", "after=whd_x", "status=sent"}) {
    const std::string answer = talk(get(kBase + "/we_1/deliveries?" + query));
    EXPECT_TRUE(has(answer, "HTTP/1.1 400 ")) << query << answer;
  }
  EXPECT_TRUE(webhooks_.asked.empty());
}

TEST_F(WebhookRoutesTest, Rotate_KeepsTheOldSecretForItsGrace) {
  const std::string answer =
      talk(post(kBase + "/we_1/rotate-secret", R"({"grace_period":"1m"})"), "}");
  EXPECT_EQ(asked(), "rotate we_1 1m");
  EXPECT_TRUE(has(answer, R"("old_secret_seconds_left":60)")) << answer;
  EXPECT_TRUE(has(answer, R"("signing_secret":"whsec_new")"));
  EXPECT_FALSE(has(answer, "whsec_old"));
  talk(post(kBase + "/we_1/rotate-secret", ""), "}");
  EXPECT_EQ(asked(), "rotate we_1 " + format_duration(std::chrono::hours(24)));
}

TEST_F(WebhookRoutesTest, RemoveEnableTestReplay_AskForTheirId) {
  EXPECT_TRUE(has(talk(del(kBase + "/we_1"), "\r\n\r\n"), "HTTP/1.1 204 "));
  EXPECT_EQ(asked(), "remove we_1");
  EXPECT_TRUE(has(talk(post(kBase + "/we_1/enable", "{}"), "}"), R"("enabled":true)"));
  EXPECT_EQ(asked(), "enable we_1");
  const std::string tested = talk(post(kBase + "/we_1/test", "{}"), "}");
  EXPECT_TRUE(has(tested, "HTTP/1.1 202 ") && has(tested, R"("event_id":"evt_1")")) << tested;
  const std::string replayed = talk(post(kBase + "/deliveries/whd_12/replay", "{}"), "}");
  EXPECT_TRUE(has(replayed, "HTTP/1.1 202 ") && has(replayed, R"("id":"whd_12")")) << replayed;
  EXPECT_EQ(asked(), "replay 12");
}

TEST_F(WebhookRoutesTest, Deliveries_SayWhatFailedAndWhenTheNextIs) {
  webhooks_.rows = {{.id = 12,
                     .endpoint = "we_1",
                     .event_id = "evt_1",
                     .type = "job.failed",
                     .payload = "{}",
                     .attempts = 2,
                     .next_ms = 6'000,
                     .last_status = 500,
                     .last_error = "it answered 500",
                     .created_ms = 2'000}};
  const std::string answer =
      talk(get(kBase + "/we_1/deliveries?status=dead&after=whd_20&limit=100"), "]}");
  EXPECT_EQ(asked(), "deliveries we_1 dead 20 100");
  EXPECT_TRUE(has(answer,
                  R"({"id":"whd_12","object":"webhook_delivery","endpoint":"we_1","url":null,)"
                  R"("event_id":"evt_1","type":"job.failed","status":"pending","attempts":2,)"
                  R"("last_status":500,"last_error":"it answered 500","next_attempt_seconds":5,)"
                  R"("created_at":2})"))
      << answer;
  talk(get(kBase + "/we_1/deliveries"), "]}");
  EXPECT_EQ(asked(), "deliveries we_1 any 0 20");
}

TEST_F(WebhookRoutesTest, WhatThereIsNot_Is404) {
  for (const char* id : {"12", "whd_", "whd_0", "whd_-1", "whd_1x"}) {
    const std::string answer = talk(post(kBase + "/deliveries/" + id + "/replay", "{}"));
    EXPECT_TRUE(has(answer, "HTTP/1.1 404 ")) << id << answer;
  }
  EXPECT_TRUE(webhooks_.asked.empty());
  webhooks_.refusal = Error{"not_found", "There is no webhook endpoint we_9.", "id"};
  EXPECT_TRUE(has(talk(del(kBase + "/we_9")), "HTTP/1.1 404 "));
  EXPECT_TRUE(has(talk(get(kBase + "/we_9/deliveries")), "HTTP/1.1 404 "));
  EXPECT_TRUE(has(talk("PUT " + kBase + " HTTP/1.1\r\nhost: localhost\r\n\r\n"), "HTTP/1.1 405 "));
}

TEST_F(GatewayTest, WithoutWebhooks_TheRoutesAre404) {
  EXPECT_TRUE(has(talk(get(kBase)), "This server sends no webhooks."));
}

}  // namespace
}  // namespace glowplug::gateway
