// Several stores over one cache folder, as several servers of one machine have them.
#include <atomic>
#include <filesystem>
#include <future>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/blob_folder.h"
#include "models/model_store.h"
#include "models/sha256.h"
#include "models/test_folder.h"
#include "models/test_gguf.h"
#include "models/test_http_server.h"

namespace glowplug::models {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using Facts = Result<domain::ModelFacts>;

// Given once, awaited by one; the wait ends in failure rather than never.
class Signal final {
 public:
  void give() {
    std::call_once(once_, [this] { promise_.set_value(); });
  }
  bool came() { return future_.wait_for(20s) == std::future_status::ready; }

 private:
  std::once_flag once_;
  std::promise<void> promise_;
  std::future<void> future_ = promise_.get_future();
};

class CacheSharingTest : public ::testing::Test {
 protected:
  ModelStoreOptions options() const {
    return {.cache_dir = folder_.path(),
            .hub_url = "http://127.0.0.1:1",
            .pip_index_url = "http://127.0.0.1:1/simple",
            .private_sources_allowed = true,
            .retry_wait = Duration(1)};
  }

  // `first` is asking the server when `second` comes; the server answers once `second` waits.
  struct Outcome {
    Facts first;
    Facts second;
    std::size_t requests;
  };
  Outcome meet(ModelStore& first, ModelStore& second, const std::string& second_pin,
               const std::string& first_answer) {
    Signal asked;
    Signal second_waits;
    std::atomic<bool> first_time = true;
    TestHttpServer server([&](const TestRequest&) {
      asked.give();
      EXPECT_TRUE(second_waits.came());
      return first_time.exchange(false) ? first_answer : good_;
    });
    const std::string url = server.url("/a.gguf");
    std::optional<Facts> one;
    std::thread leader([&] { one = first.prepare(url, "", {}, {}); });
    EXPECT_TRUE(asked.came());
    const auto waits = [&](const Progress& now) {
      if (now.phase == "fetch") second_waits.give();
    };
    Facts two = second.prepare(url, second_pin, waits, {});
    leader.join();
    return {*one, two, server.requests().size()};
  }

  const TestFolder folder_;
  const std::string model_ = TestGguf().bytes();
  const std::string good_ = answer("200 OK", "", model_);
};

TEST_F(CacheSharingTest, TwoServers_OneSource_OneGet) {
  ModelStore first(options());
  ModelStore second(options());
  const Outcome outcome = meet(first, second, "", good_);
  ASSERT_TRUE(outcome.first.ok()) << outcome.first.error().message;
  ASSERT_TRUE(outcome.second.ok()) << outcome.second.error().message;
  EXPECT_EQ(outcome.requests, 1u);
  EXPECT_EQ(outcome.first->path, outcome.second->path);
  EXPECT_TRUE(fs::is_empty(folder_.path() + "/models/partial"));
}

TEST_F(CacheSharingTest, OneServer_PinnedAndUnpinned_OneGet) {
  ModelStore store(options());
  const Outcome outcome = meet(store, store, sha256_hex(model_), good_);
  EXPECT_TRUE(outcome.first.ok() && outcome.second.ok());
  EXPECT_EQ(outcome.requests, 1u);
}

TEST_F(CacheSharingTest, FirstServerFails_SecondFetchesByItself) {
  ModelStore first(options());
  ModelStore second(options());
  const Outcome outcome = meet(first, second, "", answer("404 Not Found", "", "no"));
  EXPECT_FALSE(outcome.first.ok());
  EXPECT_TRUE(outcome.second.ok()) << outcome.second.error().message;
  EXPECT_EQ(outcome.requests, 2u);
}

TEST_F(CacheSharingTest, CancelledWhileItWaits_ReturnsAndAsksNobody) {
  TestHttpServer server([&](const TestRequest&) { return good_; });
  const std::string url = server.url("/a.gguf");
  const BlobFolder other(folder_.path());
  ASSERT_TRUE(other.make_folders().ok());
  ModelStore store(options());
  {
    const auto lock = other.try_lock(other.partial_path(url));
    ASSERT_TRUE(lock.ok() && lock->has_value());
    bool waited = false;
    const Facts facts = store.prepare(
        url, "", [&](const Progress&) { waited = true; }, [&] { return waited; });
    ASSERT_FALSE(facts.ok());
    EXPECT_EQ(facts.error().code, "source_unreachable");
    EXPECT_THAT(facts.error().message, ::testing::HasSubstr("cancelled"));
    EXPECT_EQ(server.requests().size(), 0u);
  }
  EXPECT_TRUE(store.prepare(url, "", {}, {}).ok());
}

TEST_F(CacheSharingTest, TwoServersWriteTheIndex_NoLineIsLost) {
  BlobFolder folders[] = {BlobFolder(folder_.path()), BlobFolder(folder_.path())};
  ASSERT_TRUE(folders[0].make_folders().ok());
  constexpr int kLines = 40;
  const auto source = [](int server, int line) {
    return "https://models.example/" + std::to_string(server) + "/" + std::to_string(line);
  };
  std::vector<std::thread> servers;
  for (int server = 0; server < 2; ++server)
    servers.emplace_back([&, server] {
      for (int line = 0; line < kLines; ++line)
        folders[server].remember(source(server, line), sha256_hex(source(server, line)));
    });
  for (auto& server : servers) server.join();
  for (int server = 0; server < 2; ++server)
    for (int line = 0; line < kLines; ++line)
      EXPECT_EQ(folders[1 - server].remembered(source(server, line)),
                sha256_hex(source(server, line)));
}

}  // namespace
}  // namespace glowplug::models
