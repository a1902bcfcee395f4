#include "gateway/job_request.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>

namespace glowplug::gateway {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

JobRules rules() {
  return {.timeout_of = [](const std::string& function) -> std::optional<Duration> {
            if (function == "fn") return 42s;
            return std::nullopt;
          },
          .check_webhook = [](const std::string& url) -> Result<void> {
            if (url.find("inside") == std::string::npos) return {};
            return Error{"forbidden", url + " leads inside.", "url"};
          }};
}

// A sound job with more fields.
std::string job(const std::string& more = "") {
  return R"({"function":"fn","request":{"prompt":"x"})" + (more.empty() ? "" : "," + more) + "}";
}

struct Faulty {
  std::string body;
  const char* param;
};

TEST(JobRequest, EachFieldThatIsWrong_IsNamed) {
  const std::string long_url = R"("webhook":"https://h/)" + std::string(2048, 'x') + "\"";
  const std::vector<Faulty> table = {
      {R"({"request":{"prompt":"x"}})", "function"},
      {R"({"function":7,"request":{"prompt":"x"}})", "function"},
      {R"({"function":"fn"})", "request"},
      {R"({"function":"fn","request":null})", "request"},
      {R"({"function":"fn","request":"x"})", "request"},
      {R"({"function":"fn","request":{"prompt":"x","model":"other"}})", "request.model"},
      {R"({"function":"fn","request":{"max_tokens":3}})", "path"},
      {job(R"("path":7)"), "path"},
      {job(R"("ttl":"999ms")"), "ttl"},
      {job(R"("ttl":0)"), "ttl"},
      {job(R"("ttl":-1)"), "ttl"},
      {job(R"("ttl":"soon")"), "ttl"},
      {job(R"("ttl":true)"), "ttl"},
      {job(R"("ttl":604801)"), "ttl"},
      {job(R"("delay":-1)"), "delay"},
      {job(R"("delay":"8d")"), "delay"},
      {job(R"("delay":604801)"), "delay"},
      {job(R"("delay":60,"ttl":60)"), "delay"},
      {job(R"("delay":86400)"), "delay"},  // as long as the usual ttl
      {job(R"("execution_timeout":0)"), "execution_timeout"},
      {job(R"("execution_timeout":86401)"), "execution_timeout"},
      {job(R"("execution_timeout":[])"), "execution_timeout"},
      {job(R"("max_attempts":0)"), "max_attempts"},
      {job(R"("max_attempts":21)"), "max_attempts"},
      {job(R"("max_attempts":1.5)"), "max_attempts"},
      {job(R"("max_attempts":"3")"), "max_attempts"},
      {job(R"("priority":"urgent")"), "priority"},
      {job(R"("priority":1)"), "priority"},
      {job(R"("webhook":7)"), "webhook"},
      {job(R"("webhook":"ftp://host/")"), "webhook"},
      {job(R"("webhook":"https://inside/")"), "webhook"},
      {job(long_url), "webhook"},
      {job(R"("tll":"1h")"), "tll"},
  };
  for (const Faulty& one : table) {
    SCOPED_TRACE(one.body.substr(0, 120));
    const Result<queue::Submission> read = read_job(one.body, rules());
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().param, one.param) << read.error().message;
  }
  EXPECT_FALSE(read_job("{", rules()));
  EXPECT_FALSE(read_job("[]", rules()));
}

TEST(JobRequest, FieldsAtTheirBounds_AreTaken) {
  const Result<queue::Submission> low =
      read_job(job(R"("ttl":"1s","delay":0,"execution_timeout":1,"max_attempts":1)"), rules());
  ASSERT_TRUE(low) << low.error().message;
  EXPECT_EQ(low->options.terms.ttl, 1s);
  EXPECT_EQ(low->options.terms.limits.run_timeout, 1s);
  EXPECT_EQ(low->options.terms.limits.attempts_max, 1);
  const Result<queue::Submission> high =
      read_job(job(R"("ttl":604800,"delay":"167h","execution_timeout":"24h","max_attempts":20,)"
                   R"("priority":"batch","webhook":"https://outside/hook")"),
               rules());
  ASSERT_TRUE(high) << high.error().message;
  EXPECT_EQ(high->options.terms.ttl, 7 * 24h);
  EXPECT_EQ(high->options.delay, 167h);
  EXPECT_EQ(high->options.terms.limits.run_timeout, 24h);
  EXPECT_EQ(high->options.terms.limits.attempts_max, 20);
  EXPECT_EQ(high->options.urgency, domain::JobUrgency::Batch);
  EXPECT_EQ(high->options.webhook, "https://outside/hook");
}

TEST(JobRequest, WhatIsNotSaid_IsTheFunctionsOrTheUsual) {
  const Result<queue::Submission> read = read_job(job(), rules());
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->options.terms.limits.run_timeout, 42s);
  EXPECT_EQ(read->options.terms.limits.attempts_max, 3);
  EXPECT_EQ(read->options.terms.ttl, 24h);
  EXPECT_EQ(read->options.urgency, domain::JobUrgency::Interactive);
  EXPECT_FALSE(read->checked);
  const Result<queue::Submission> by_model =
      read_job(R"({"model":"other","request":{"prompt":"x"}})", rules());
  ASSERT_TRUE(by_model) << by_model.error().message;
  EXPECT_EQ(by_model->request.function, "other");
  EXPECT_EQ(by_model->options.terms.limits.run_timeout, control::JobLimits().run_timeout);
}

TEST(JobRequest, PathIsThatOfTheRequestsKind_AndModelIsTheFunction) {
  const std::pair<const char*, const char*> table[] = {
      {R"({"messages":[]})", "/v1/chat/completions"},
      {R"({"prompt":"x"})", "/v1/completions"},
      {R"({"input":"x"})", "/v1/embeddings"},
      {R"({"body":{}})", "/v1/functions/fn/invoke"},
      {R"({"specversion":"1.0"})", "/v1/functions/fn/invoke"},
  };
  for (const auto& [request, path] : table) {
    const Result<queue::Submission> read =
        read_job(R"({"function":"fn","request":)" + std::string(request) + "}", rules());
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(read->request.path, path);
    const bool names_model = read->request.body.find(R"("model":"fn")") != std::string::npos;
    EXPECT_EQ(names_model, !read->request.path.ends_with("/invoke")) << read->request.body;
  }
  const Result<queue::Submission> said =
      read_job(R"({"function":"fn","path":"/v1/responses","request":{"input":"x"}})", rules());
  ASSERT_TRUE(said);
  EXPECT_EQ(said->request.path, "/v1/responses");
}

TEST(Preference, WordsOfBothHeaders) {
  struct Row {
    const char *prefer, *kind;
    bool async;
    std::optional<Duration> wait;
  };
  const Row table[] = {{"", "", false, {}},
                       {"", "Event", true, {}},
                       {"", "event", true, {}},
                       {"", "RequestResponse", false, {}},
                       {"respond-async", "", true, {}},
                       {"Respond-Async; foo=bar", "", true, {}},
                       {"wait=5", "", false, 5s},
                       {"wait=0", "", false, 0s},
                       {" wait = 5 , handling=lenient", "", false, 5s},
                       {"respond-async, wait=10", "", true, 10s},
                       {"wait=999999", "", false, domain::kJobWaitMax},
                       {"return=minimal", "", false, {}}};
  for (const Row& row : table) {
    const Result<Preference> read = read_preference(row.prefer, row.kind);
    ASSERT_TRUE(read) << row.prefer;
    EXPECT_EQ(read->async, row.async) << row.prefer;
    EXPECT_EQ(read->wait, row.wait) << row.prefer;
    EXPECT_EQ(read->wants_job(), row.async || row.wait) << row.prefer;
  }
  for (const char* bad : {"wait=", "wait=x", "wait=-1", "wait=1.5", "respond-async, wait=5s"}) {
    const Result<Preference> read = read_preference(bad, "");
    ASSERT_FALSE(read) << bad;
    EXPECT_EQ(read.error().param, "Prefer");
  }
}

TEST(IdempotencyKey, BareOrQuotedIsTheSame_AndItsScopeIsTheRoute) {
  const auto bare = read_key(" k-1 ", "/v1/jobs", "{}");
  const auto quoted = read_key("\"k-1\"", "/v1/jobs", "{}");
  ASSERT_TRUE(bare && *bare && quoted && *quoted);
  EXPECT_EQ((*bare)->key, "k-1");
  EXPECT_EQ((*quoted)->key, "k-1");
  EXPECT_EQ((*bare)->scope, "/v1/jobs");
  EXPECT_EQ((*bare)->body_hash, (*quoted)->body_hash);
  EXPECT_FALSE(*read_key("", "/v1/jobs", "{}"));
  EXPECT_TRUE(*read_key(std::string(255, 'k'), "/v1/jobs", "{}"));
  for (const std::string& bad : {std::string(256, 'k'), std::string("\"\""), std::string("a\tb"),
                                 std::string("schl\xc3\xbcssel")}) {
    const auto read = read_key(bad, "/v1/jobs", "{}");
    ASSERT_FALSE(read) << bad;
    EXPECT_EQ(read.error().param, "Idempotency-Key");
  }
}

TEST(IdempotencyKey, BodiesThatSayTheSame_AreTheSame) {
  const auto hash = [](std::string_view body) { return (*read_key("k", "/", body))->body_hash; };
  const std::string said = hash(R"({"a":1,"b":[{"c":"é","d":null}, true]})");
  EXPECT_EQ(said, hash(R"( {"b": [{"d": null, "c": "\u00e9"}, true], "a": 1} )"));
  for (const char* other : {R"({"a":1,"b":[true, {"c":"é","d":null}]})", R"({"a":"1","b":[]})",
                            R"({"b":[{"c":"é","d":null}, true]})"})
    EXPECT_NE(said, hash(other)) << other;
  EXPECT_NE(hash("--form\r\n a"), hash("--form\r\na"));  // no JSON: the same bytes
}

TEST(CancelAfter, IsADurationWithinBounds) {
  EXPECT_EQ(**read_cancel_after("10m"), 10min);
  EXPECT_EQ(**read_cancel_after(" 1s "), 1s);
  EXPECT_FALSE(*read_cancel_after(""));
  for (const char* bad : {"0s", "999ms", "169h", "soon", "-1s"}) {
    const auto read = read_cancel_after(bad);
    ASSERT_FALSE(read) << bad;
    EXPECT_EQ(read.error().param, "Cancel-After");
    EXPECT_THAT(read.error().message, HasSubstr("10m"));
  }
}

TEST(Traceparent, IsPassedOnAsItCame_AndDroppedWhereItIsMalformed) {
  const std::string trace = "-0af7651916cd43dd8448eb211c80319c", parent = "-b7ad6b7169203331";
  const std::string sound = "00" + trace + parent + "-01";
  EXPECT_EQ(usable_traceparent(sound), sound);
  EXPECT_EQ(usable_traceparent(" " + sound + " "), sound);
  EXPECT_EQ(usable_traceparent("cc" + trace + parent + "-01"), sound);
  EXPECT_EQ(usable_traceparent("cc" + trace + parent + "-01-what-comes-later"), sound);
  const std::string no_trace = "-" + std::string(32, '0'), no_parent = "-" + std::string(16, '0');
  for (const std::string& bad :
       {std::string(), std::string("00"), sound + "-x", sound + "0", sound.substr(0, 54),
        "ff" + trace + parent + "-01", "0x" + trace + parent + "-01",
        "00" + no_trace + parent + "-01", "00" + trace + no_parent + "-01",
        "00" + trace + parent + "-0G", "00" + trace + parent + "_01",
        "cc" + trace + parent + "-01.x",
        std::string("00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01")})
    EXPECT_EQ(usable_traceparent(bad), "") << bad;
}

TEST(WaitOfAQuery, IsSecondsUpToTheMost) {
  EXPECT_EQ(*read_wait("0"), 0s);
  EXPECT_EQ(*read_wait("100000"), domain::kJobWaitMax);
  for (const char* bad : {"", "x", "-1", "1s", "99999999999999"}) EXPECT_FALSE(read_wait(bad));
}

}  // namespace
}  // namespace glowplug::gateway
