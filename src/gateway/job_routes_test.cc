// Jobs over HTTP with a durable queue behind them: what is said when, and read again.
#include <filesystem>

#include <boost/asio/post.hpp>
#include <boost/json/parse.hpp>

#include "gateway/test_job_runner.h"
#include "queue/test_jobs.h"

namespace glowplug::gateway {
namespace {

namespace json = boost::json;
using queue::FakeRunner;
using testing::ElementsAre;
using testing::HasSubstr;

const std::string kJob = R"({"function":"fn","request":{"prompt":"x"}})";
const std::string kBackground = R"({"model":"fn","input":"x","background":true})";
const std::string kResponse =
    R"({"id":"resp_engine","object":"response","status":"completed","output":[{"type":"message",)"
    R"("id":"m","content":[{"type":"output_text","text":"Hi."}]}]})";

// One request on a connection of its own.
struct Talk {
  explicit Talk(asio::io_context& io) : socket(io) {}
  asio::ip::tcp::socket socket;
  std::string answer;
  bool done = false;
  bool says(std::string_view part) const { return answer.find(part) != std::string::npos; }
  std::string body() const { return answer.substr(answer.find("\r\n\r\n") + 4); }
};

class JobRoutesTest : public GatewayTest {
 protected:
  JobRoutesTest() {
    job_runner_.later = [this](std::function<void()> call) { asio::post(io_, std::move(call)); };
    auto file = storage::StateFile::open(root_ + "/data");
    EXPECT_TRUE(file) << file.error().message;
    writer_ = std::make_unique<storage::WriteLoop>(storage::WriteLoop::Parts{
        .file = std::move(*file),
        .deliver =
            [this](std::vector<std::function<void()>> calls) {
              for (auto& call : calls) asio::post(io_, std::move(call));
            },
        .halted = [](const Error& error) { ADD_FAILURE() << error.message; }});
    auto reader = storage::ReadLoop::open(
        writer_->path(), [this](std::function<void()> call) { asio::post(io_, std::move(call)); });
    EXPECT_TRUE(reader) << reader.error().message;
    reader_ = std::move(*reader);
    EXPECT_TRUE(writer_->run([this](storage::Database& database) -> Result<void> {
      Result<queue::QueueClock> clock = queue::QueueClock::open(
          database,
          [] {
            return queue::ClockReading{.boot_id = "boot",
                                       .boottime = std::chrono::hours(1),
                                       .wall = WallTime(std::chrono::hours(500'000))};
          },
          7);
      if (!clock) return clock.error();
      queue_clock_ = std::make_unique<queue::QueueClock>(std::move(*clock));
      return {};
    }));
    jobs_ = std::make_unique<queue::JobService>(
        queue::JobService::Parts{.writer = *writer_,
                                 .reader = *reader_,
                                 .runner = job_runner_,
                                 .clock = *queue_clock_,
                                 .places_of = [](const std::string& name) -> std::optional<int> {
                                   return name == "fn" ? std::optional(4) : std::nullopt;
                                 },
                                 .wake_in = [](Duration) {},
                                 .seed = 1});
    EXPECT_TRUE(jobs_->recover());
    gateway_->set_jobs(*jobs_);
  }
  ~JobRoutesTest() override {
    gateway_.reset();
    settle();
    jobs_.reset();
    reader_.reset();
    writer_.reset();
    std::filesystem::remove_all(root_);
  }

  // Reads until `mark` or the end of the connection.
  std::shared_ptr<Talk> ask(std::string request, std::string mark = "\r\n\r\n{") {
    const auto talk = std::make_shared<Talk>(io_);  // owners: the test and the conversation
    talk->socket.connect(
        {asio::ip::address_v4::loopback(), static_cast<unsigned short>(gateway_->port())});
    asio::co_spawn(io_, converse(talk, std::move(request), std::move(mark)), asio::detached);
    return talk;
  }
  static asio::awaitable<void> converse(std::shared_ptr<Talk> talk, std::string request,
                                        std::string mark) {
    co_await asio::async_write(talk->socket, asio::buffer(request), kAwait);
    char piece[4096];
    while (talk->answer.find(mark) == std::string::npos) {
      auto [ec, got] = co_await talk->socket.async_read_some(asio::buffer(piece), kAwait);
      if (ec) break;
      talk->answer.append(piece, got);
    }
    talk->done = true;
  }
  std::string answer_to(const std::string& request, const std::string& mark = "\r\n\r\n{") {
    const auto talk = ask(request, mark);
    EXPECT_TRUE(run_until([&] { return talk->done; })) << talk->answer;
    return talk->answer;
  }
  // `prefix`: job_ or resp_.
  static std::string id_in(const std::string& answer, const std::string& prefix = "job_") {
    const std::size_t at = answer.find(prefix);
    return at == std::string::npos ? "" : answer.substr(at, prefix.size() + 16);
  }
  std::string submit(const std::string& headers = "", const std::string& body = kJob) {
    const std::string answer = answer_to(post("/v1/jobs", body, headers));
    EXPECT_THAT(answer, HasSubstr("HTTP/1.1 202 ")) << answer;
    return id_in(answer);
  }
  std::string send_background() {
    const std::string answer = answer_to(post("/v1/responses", kBackground));
    EXPECT_THAT(answer, HasSubstr("HTTP/1.1 200 ")) << answer;
    return id_in(answer, "resp_");
  }
  void end(std::size_t run, queue::AttemptAnswer answer) {
    ASSERT_TRUE(run_until([&] { return job_runner_.runs.size() > run; }));
    const auto ended = job_runner_.runs[run].heard.ended;
    ended(std::move(answer));
  }
  std::string state(const std::string& path) {
    const std::string answer = answer_to(get(path), "\"status\":\"");
    const std::size_t at = answer.find("\"status\":\"");
    if (at == std::string::npos) return answer.substr(0, 12);
    return answer.substr(at + 10, answer.find('"', at + 10) - at - 10);
  }
  void ends_as(const std::string& path, const std::string& expected) {
    for (int looks = 0; looks < 1'000 && state(path) != expected; ++looks) settle();
    EXPECT_EQ(state(path), expected);
  }
  static std::string get_from(const std::string& path, const std::string& last) {
    return "GET " + path + " HTTP/1.1\r\nhost: localhost\r\nlast-event-id: " + last + "\r\n\r\n";
  }
  static std::string plain(const std::string& method, const std::string& path) {
    return method + " " + path + " HTTP/1.1\r\nhost: localhost\r\n\r\n";
  }
  // What stands behind `field` on the lines that begin with it.
  static std::vector<std::string> lines(const std::string& text, const std::string& field) {
    std::vector<std::string> found;
    for (std::size_t at = text.find(field); at != std::string::npos;
         at = text.find(field, at + 1)) {
      if (at > 0 && text[at - 1] != '\n') continue;
      const std::size_t from = at + field.size();
      found.push_back(text.substr(from, text.find('\n', from) - from));
    }
    return found;
  }

  const std::string root_ = storage::make_test_root();
  FakeRunner job_runner_;
  std::unique_ptr<storage::WriteLoop> writer_;
  std::unique_ptr<storage::ReadLoop> reader_;
  std::unique_ptr<queue::QueueClock> queue_clock_;
  std::unique_ptr<queue::JobService> jobs_;
};

TEST_F(JobRoutesTest, Traceparent_IsKeptWithTheJob_AndAMalformedOneIsNoFault) {
  const std::string trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  submit("traceparent: " + trace + "\r\n");
  submit("traceparent: of my own\r\n");
  submit();
  std::vector<std::string> kept;
  EXPECT_TRUE(writer_->run([&kept](storage::Database& database) -> Result<void> {
    auto rows = database.prepare("SELECT traceparent FROM jobs ORDER BY id");
    if (!rows) return rows.error();
    while (*rows->step()) kept.push_back(rows->text(0));
    return {};
  }));
  EXPECT_THAT(kept, ElementsAre(trace, "", ""));
}

TEST_F(JobRoutesTest, PreferWait_EndsWithTheAnswer_WhichStays) {
  const auto talk =
      ask(post("/v1/completions", R"({"model":"fn","prompt":"x"})", "prefer: wait=60\r\n"));
  end(0, FakeRunner::answer(R"({"text":"y"})"));
  ASSERT_TRUE(run_until([&] { return talk->done; }));
  EXPECT_TRUE(talk->says("HTTP/1.1 200 ") && talk->says("preference-applied: wait"))
      << talk->answer;
  EXPECT_EQ(talk->body(), R"({"text":"y"})");
  const std::string job = id_in(talk->answer);
  EXPECT_THAT(answer_to(get("/v1/jobs/" + job)), HasSubstr(R"("body":{"text":"y"})"));
}

TEST_F(JobRoutesTest, PreferWait_Over_IsA202AndTheJobGoesOn) {
  const std::string answer =
      answer_to(post("/v1/completions", R"({"model":"fn","prompt":"x"})", "prefer: wait=0\r\n"));
  EXPECT_THAT(answer, HasSubstr("HTTP/1.1 202 "));
  const std::string job = id_in(answer);
  EXPECT_EQ(state("/v1/jobs/" + job), "in_progress");
  EXPECT_TRUE(job_runner_.stopped.empty());
  end(0, FakeRunner::answer(R"({"text":"y"})"));
  ends_as("/v1/jobs/" + job, "completed");
}

TEST_F(JobRoutesTest, ClientLeavesWhileItWaits_TheJobGoesOn) {
  const auto talk =
      ask(post("/v1/completions", R"({"model":"fn","prompt":"x"})", "prefer: wait=60\r\n"));
  ASSERT_TRUE(run_until([&] { return job_runner_.runs.size() == 1; }));
  talk->socket.close();
  settle();
  EXPECT_TRUE(job_runner_.stopped.empty());
  end(0, FakeRunner::answer("{}"));
  ends_as("/v1/jobs/" + storage::to_text(job_runner_.runs[0].job), "completed");
}

TEST_F(JobRoutesTest, Stream_ResumesAtEachEvent) {
  const std::string job = submit();
  const std::string path = "/v1/jobs/" + job + "/stream";
  const auto live = ask(get(path), "0\r\n\r\n");
  ASSERT_TRUE(run_until([&] { return live->says("event: in_progress"); })) << live->answer;
  queue::AttemptAnswer crowded = FakeRunner::failure(AttemptOutcome::NoCapacity);
  end(0, std::move(crowded));
  ASSERT_TRUE(run_until([&] { return live->says("event: queued"); })) << live->answer;
  answer_to(post("/v1/jobs/" + job + "/cancel", "{}"));
  ASSERT_TRUE(run_until([&] { return live->done; })) << live->answer;
  const std::vector<std::string> names = lines(live->answer, "event: ");
  EXPECT_THAT(names, ElementsAre("in_progress", "queued", "cancelled"));
  const std::vector<std::string> ids = lines(live->answer, "id: ");
  ASSERT_EQ(ids.size(), 3U);
  for (std::size_t i = 1; i < ids.size(); ++i)
    EXPECT_GT(std::stoul(ids[i]), std::stoul(ids[i - 1]));
  const std::string last = lines(live->answer, "data: ").back();
  for (std::size_t i = 0; i < ids.size(); ++i) {  // what has followed is its end
    const std::string again = answer_to(get_from(path, ids[i]), "0\r\n\r\n");
    EXPECT_THAT(again, HasSubstr("text/event-stream"));
    if (i + 1 < ids.size())
      EXPECT_THAT(lines(again, "data: "), ElementsAre(last)) << ids[i];
    else
      EXPECT_TRUE(lines(again, "data: ").empty()) << again;
  }
  EXPECT_THAT(answer_to(get_from(path, "x")), HasSubstr(R"("param":"Last-Event-ID")"));
  EXPECT_THAT(answer_to(get("/v1/jobs/job_0000000000000000/stream")), HasSubstr("HTTP/1.1 404 "));
}

TEST_F(JobRoutesTest, KeyOfAJobThatWasDeleted_IsNew) {
  const std::string key = "idempotency-key: k\r\n";
  const std::string first = submit(key);
  EXPECT_EQ(submit(key), first);
  end(0, FakeRunner::answer("{}"));
  ends_as("/v1/jobs/" + first, "completed");
  EXPECT_THAT(answer_to(plain("DELETE", "/v1/jobs/" + first), "\r\n\r\n"),
              HasSubstr("HTTP/1.1 204 "));
  const std::string second = submit(key, R"({"function":"fn","request":{"prompt":"other"}})");
  EXPECT_NE(second, first);
  EXPECT_EQ(state("/v1/jobs/" + second), "in_progress");
}

TEST_F(JobRoutesTest, KeyOfACallUnderWay_IsInProgress_ThenReplayed) {
  scripts_ = {whole(kAnswer)};
  platform_.hold = true;
  const std::string call =
      post("/v1/completions", R"({"model":"fn","prompt":"x"})", "idempotency-key: k\r\n");
  const auto first = ask(call);
  ASSERT_TRUE(run_until([&] { return platform_.held != nullptr; }));
  const std::string meanwhile = answer_to(call);
  for (const char* part :
       {"HTTP/1.1 409 ", "x-should-retry: true", "retry-after: 1\r\n", "idempotency_in_progress"})
    EXPECT_THAT(meanwhile, HasSubstr(part));
  control::Grant grant;
  grant.manifest = platform_.views.at("fn").manifest;
  grant.endpoint.socket_path = path_;
  platform_.held(grant, 0);
  ASSERT_TRUE(run_until([&] { return first->done; }));
  const std::string again = answer_to(call);
  EXPECT_THAT(again, HasSubstr("idempotent-replayed: true"));
  EXPECT_EQ(again.substr(again.find("\r\n\r\n")), "\r\n\r\n" + first->body());
  EXPECT_EQ(platform_.calls, 1u);
}

TEST_F(JobRoutesTest, Background_IsQueuedThenWhatACallerGets) {
  const std::string answer = answer_to(post("/v1/responses", kBackground));
  for (const char* part : {"HTTP/1.1 200 ", R"("status":"queued")", R"("background":true)"})
    EXPECT_THAT(answer, HasSubstr(part));
  const std::string id = id_in(answer, "resp_");
  const std::string path = "/v1/responses/" + id;
  EXPECT_EQ(state(path), "in_progress");
  EXPECT_EQ(job_runner_.runs.at(0).request.path, "/v1/responses");
  end(0, FakeRunner::answer(kResponse));
  ends_as(path, "completed");
  const std::string seen = answer_to(get(path));
  EXPECT_THAT(seen, HasSubstr(R"("text":"Hi.")"));
  EXPECT_FALSE(has(seen, "resp_engine")) << seen;
  EXPECT_THAT(answer_to(get(path + "/input_items")), HasSubstr(R"("type":"input_text")"));
  EXPECT_EQ(state("/v1/jobs/job_" + id.substr(5)), "completed");
}

TEST_F(JobRoutesTest, BackgroundEvents_ResumeAfterEach) {
  const auto live =
      ask(post("/v1/responses", R"({"model":"fn","input":"x","background":true,"stream":true})"),
          "0\r\n\r\n");
  ASSERT_TRUE(run_until([&] { return live->says("event: response.in_progress"); })) << live->answer;
  const std::string path = "/v1/responses/" + id_in(live->answer, "resp_");
  const auto late = ask(get(path + "?stream=true&starting_after=1"), "0\r\n\r\n");
  end(0, FakeRunner::answer(kResponse));
  ASSERT_TRUE(run_until([&] { return live->done && late->done; })) << live->answer;
  const std::vector<std::string> all = lines(live->answer, "data: ");
  ASSERT_EQ(all.size(), 10U);
  EXPECT_EQ(lines(live->answer, "event: ").back(), "response.completed");
  EXPECT_EQ(lines(late->answer, "data: "), std::vector(all.begin() + 2, all.end()));
  for (std::size_t after = 0; after < all.size(); ++after) {
    const std::string again =
        answer_to(get(path + "?stream=true&starting_after=" + std::to_string(after)), "0\r\n\r\n");
    const auto from = all.begin() + static_cast<std::ptrdiff_t>(after) + 1;
    EXPECT_EQ(lines(again, "data: "), std::vector(from, all.end())) << after;
  }
  EXPECT_THAT(answer_to(get(path + "?stream=true&starting_after=x")),
              HasSubstr(R"("param":"starting_after")"));
  EXPECT_THAT(answer_to(get(path + "?stream=odd")), HasSubstr(R"("param":"stream")"));
}

TEST_F(JobRoutesTest, BackgroundCancelledTwice_IsCancelled_AndDeletedIsGone) {
  const std::string path = "/v1/responses/" + send_background();
  for (int time = 0; time < 2; ++time)
    EXPECT_THAT(answer_to(post(path + "/cancel", "")), HasSubstr(R"("status":"cancelled")"));
  EXPECT_EQ(job_runner_.stopped.size(), 1U);
  EXPECT_THAT(answer_to(plain("DELETE", path)), HasSubstr(R"("deleted":true)"));
  EXPECT_THAT(answer_to(get(path)), HasSubstr("HTTP/1.1 404 "));
  EXPECT_THAT(answer_to(plain("DELETE", path)), HasSubstr("HTTP/1.1 404 "));
}

TEST_F(JobRoutesTest, BackgroundDeletedWhileItRuns_IsStoppedAndGone) {
  const std::string path = "/v1/responses/" + send_background();
  EXPECT_THAT(answer_to(plain("DELETE", path)), HasSubstr(R"("deleted":true)"));
  EXPECT_EQ(job_runner_.stopped.size(), 1U);
  EXPECT_THAT(answer_to(get(path)), HasSubstr("HTTP/1.1 404 "));
}

TEST_F(JobRoutesTest, BackgroundKnownByItsKey_IsReplayedAsItIsNow) {
  const std::string call = post("/v1/responses", kBackground, "idempotency-key: k\r\n");
  const std::string first = id_in(answer_to(call), "resp_");
  end(0, FakeRunner::answer(kResponse));
  ends_as("/v1/responses/" + first, "completed");
  const std::string again = answer_to(call);
  EXPECT_THAT(again, HasSubstr("idempotent-replayed: true"));
  EXPECT_THAT(again, HasSubstr(R"("status":"completed")"));
  EXPECT_EQ(id_in(again, "resp_"), first);
  EXPECT_EQ(job_runner_.runs.size(), 1U);
}

TEST_F(JobRoutesTest, WhatIsNoResponse_IsNotFound) {
  const std::string job = submit();
  for (const std::string& id : {std::string("resp_0000000000000000"), std::string("nonsense"),
                                "resp_" + job.substr(4), job}) {
    EXPECT_THAT(answer_to(get("/v1/responses/" + id)), HasSubstr("HTTP/1.1 404 ")) << id;
    EXPECT_THAT(answer_to(post("/v1/responses/" + id + "/cancel", "")), HasSubstr("HTTP/1.1 404 "));
    EXPECT_THAT(answer_to(plain("DELETE", "/v1/responses/" + id)), HasSubstr("HTTP/1.1 404 "));
  }
  EXPECT_TRUE(job_runner_.stopped.empty());
}

TEST_F(JobRoutesTest, BackgroundThatMayNotBeStored_IsRefusedBeforeItIsAccepted) {
  const std::string answer = answer_to(
      post("/v1/responses", R"({"model":"fn","input":"x","background":true,"store":false})"));
  EXPECT_THAT(answer, HasSubstr("HTTP/1.1 400 "));
  EXPECT_THAT(answer, HasSubstr(R"("param":"store")"));
  EXPECT_TRUE(job_runner_.runs.empty());
}

}  // namespace
}  // namespace glowplug::gateway
