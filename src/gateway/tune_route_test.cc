// The stream of a tune over a real socket, with the double of the platform telling what it
// measures.
#include "gateway/test_gateway.h"

namespace glowplug::gateway {
namespace {

class TuneRouteTest : public GatewayTest {
 protected:
  std::string post(const std::string& body) const {
    return "POST /v1/functions/fn/tune HTTP/1.1\r\nhost: localhost\r\ncontent-type: "
           "application/json\r\ncontent-length: " +
           std::to_string(body.size()) + "\r\n\r\n" + body;
  }
  const std::string& read_until(const std::string& mark) {
    std::string more;
    bool done = false;
    asio::co_spawn(io_, converse("", mark, more, done), asio::detached);
    EXPECT_TRUE(run_until([&done] { return done; })) << text_ << more;
    text_ += more;
    return text_;
  }
  std::string text_;
};

TEST_F(TuneRouteTest, TellsEachTrialAndTheEndAndThenTheConnectionIsFree) {
  asio::write(*client_, asio::buffer(post(R"({"apply":true,"force":true})")));
  ASSERT_TRUE(run_until([this] { return platform_.tuning != nullptr; }));
  EXPECT_EQ(platform_.tune_wish.apply, control::Apply::Yes);
  EXPECT_EQ(platform_.tune_wish.beside_calls, control::BesideCalls::Measure);
  control::TrialNews news{.done = 1, .of = 4};
  news.trial.settings.threads = 2;
  news.trial.error = "killed";
  platform_.tuning(news);
  read_until("\"of\":4}");
  EXPECT_TRUE(has(text_, "event: trial\ndata: {\"settings\":{\"threads\":2,\"batch\":\"auto\""));
  control::TuneEnd end{.result = {}, .revision = 3, .applied = 4};
  platform_.tuning(end);
  read_until("0\r\n\r\n");
  EXPECT_TRUE(has(text_,
                  "event: result\ndata: {\"object\":\"tune\",\"function\":\"fn\",\"revision\":3,"
                  "\"applied_revision\":4"));
  EXPECT_TRUE(run_until([this] { return platform_.tuning == nullptr; }));
}

TEST_F(TuneRouteTest, FailureIsAnEventOnceTheStreamHasBegun) {
  asio::write(*client_, asio::buffer(post("")));
  ASSERT_TRUE(run_until([this] { return platform_.tuning != nullptr; }));
  EXPECT_EQ(platform_.tune_wish.apply, control::Apply::No);
  platform_.tuning(Error{"function_failed", "it does not load", ""});
  read_until("0\r\n\r\n");
  EXPECT_TRUE(has(text_, "event: error\ndata: {\"error\":{\"message\":\"it does not load\""));
}

TEST_F(TuneRouteTest, ClientThatLeaves_EndsTheTune) {
  asio::write(*client_, asio::buffer(post("{}")));
  ASSERT_TRUE(run_until([this] { return platform_.tuning != nullptr; }));
  client_->close();
  EXPECT_TRUE(run_until([this] { return platform_.tuning == nullptr; }));
}

}  // namespace
}  // namespace glowplug::gateway
