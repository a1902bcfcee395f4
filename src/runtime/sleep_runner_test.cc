// An engine that answers from a script, on the same loop as the runner.
#include "runtime/sleep_runner.h"

#include <chrono>
#include <functional>
#include <list>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/asio/write.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace glowplug::runtime {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using namespace std::chrono_literals;
using Code = boost::system::error_code;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string reply(int status, const std::string& body = "") {
  return "HTTP/1.1 " + std::to_string(status) +
         " x\r\ncontent-length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

// Answers each request with what `handler` says for its first line; nothing at all for "".
class ScriptedEngine final {
 public:
  explicit ScriptedEngine(asio::io_context& loop)
      : acceptor_(loop, {asio::ip::address_v4::loopback(), 0}) {
    accept();
  }
  control::Endpoint endpoint() const { return {.port = acceptor_.local_endpoint().port()}; }
  std::function<std::string(const std::string&)> handler;
  std::vector<std::string> lines;  // "POST /sleep?level=1"

 private:
  struct Peer {
    explicit Peer(tcp::socket from) : socket(std::move(from)) {}
    tcp::socket socket;
    asio::streambuf buffer;
    std::string answer;
  };
  void accept() {
    acceptor_.async_accept([this](Code code, tcp::socket socket) {
      if (code) return;
      Peer& peer = peers_.emplace_back(std::move(socket));
      asio::async_read_until(peer.socket, peer.buffer, "\r\n\r\n",
                             [this, &peer](Code failed, std::size_t) {
                               if (!failed) answer(peer);
                             });
      accept();
    });
  }
  void answer(Peer& peer) {
    std::istream in(&peer.buffer);
    std::string method, target;
    in >> method >> target;
    lines.push_back(method + " " + target);
    peer.answer = handler(lines.back());
    if (peer.answer.empty()) return;
    asio::async_write(peer.socket, asio::buffer(peer.answer), [](Code, std::size_t) {});
  }

  tcp::acceptor acceptor_;
  std::list<Peer> peers_;
};

class SleepRunnerTest : public testing::Test {
 protected:
  SleepRunner::Done note() {
    return [this](const Result<void>& outcome) {
      ++ended_;
      why_ = outcome ? "done" : outcome.error().message;
    };
  }
  void sleep(Duration limit = 5s) {
    runner_.run({1}, engine_.endpoint(), sleep_steps({}), limit, note());
  }
  std::string outcome() {
    const auto end = std::chrono::steady_clock::now() + 5s;
    while (ended_ == 0 && std::chrono::steady_clock::now() < end) loop_.run_one_for(20ms);
    return why_;
  }

  asio::io_context loop_;
  ScriptedEngine engine_{loop_};
  SleepRunner runner_{loop_};
  int ended_ = 0;
  std::string why_;
};

TEST_F(SleepRunnerTest, Steps_AreTakenInOrderUntilTheStateIsReached) {
  int asked = 0;
  engine_.handler = [&asked](const std::string& line) {
    if (line.starts_with("POST")) return reply(200);
    return reply(200, ++asked < 3 ? R"({"is_sleeping":false})" : R"({"is_sleeping":true})");
  };
  sleep();
  EXPECT_EQ(ended_, 0);  // never from inside run()
  EXPECT_EQ(outcome(), "done");
  EXPECT_THAT(engine_.lines, ElementsAre("POST /sleep?level=1", "GET /is_sleeping",
                                         "GET /is_sleeping", "GET /is_sleeping"));
}

TEST_F(SleepRunnerTest, AnswerThatSaysNo_EndsItAndIsNamed) {
  engine_.handler = [](const std::string&) { return reply(500, "no memory pool"); };
  sleep();
  EXPECT_EQ(outcome(), "POST /sleep?level=1 answered 500: no memory pool");
  EXPECT_EQ(engine_.lines.size(), 1u);
}

TEST_F(SleepRunnerTest, StateThatIsNeverReached_EndsAtTheLimit) {
  engine_.handler = [](const std::string& line) {
    return reply(200, line.starts_with("GET") ? R"({"is_sleeping":false})" : "");
  };
  sleep(200ms);
  EXPECT_THAT(outcome(),
              HasSubstr("not done within 200.0 ms; last, GET /is_sleeping answered 200"));
}

TEST_F(SleepRunnerTest, EngineThatNeverAnswers_EndsAtTheLimit) {
  engine_.handler = [](const std::string&) { return ""; };
  sleep(100ms);
  EXPECT_THAT(outcome(), HasSubstr("within 100.0 ms"));
}

TEST_F(SleepRunnerTest, EngineThatDoesNotListen_IsAFailureOfItsFirstStep) {
  control::Endpoint nobody;
  {
    const tcp::acceptor closed(loop_, {asio::ip::address_v4::loopback(), 0});
    nobody.port = closed.local_endpoint().port();
  }
  runner_.run({1}, nobody, sleep_steps({}), 5s, note());
  EXPECT_EQ(outcome(), "POST /sleep?level=1: Connection refused");
}

TEST_F(SleepRunnerTest, Forgotten_IsNeverHeardOfAgain) {
  engine_.handler = [](const std::string&) { return reply(200, R"({"is_sleeping":true})"); };
  sleep();
  runner_.forget({1});
  runner_.forget({2});
  const auto end = std::chrono::steady_clock::now() + 100ms;
  while (std::chrono::steady_clock::now() < end) loop_.run_one_for(10ms);
  EXPECT_EQ(ended_, 0);
}

TEST_F(SleepRunnerTest, SecondRunOfAProcess_ReplacesTheFirst) {
  engine_.handler = [](const std::string& line) {
    return reply(200, line.starts_with("GET") ? R"({"is_sleeping":false})" : "");
  };
  sleep(60s);
  runner_.run({1}, engine_.endpoint(), wake_steps({}), 5s, note());
  EXPECT_EQ(outcome(), "done");
  EXPECT_EQ(ended_, 1);
}

TEST_F(SleepRunnerTest, EndlessAnswer_IsRefused) {
  engine_.handler = [](const std::string&) { return reply(200, std::string(200'000, 'x')); };
  sleep();
  EXPECT_THAT(outcome(), HasSubstr("POST /sleep?level=1: "));
}

}  // namespace
}  // namespace glowplug::runtime
