// The wiring of watchers: brain, store and supervisor are the real ones; the worker program is not
// there, so a start fails. No cgroups are made: nothing here needs one, and the machine is slow to
// make and to remove them while others do.
#include "app/live_platform.h"

#include <filesystem>

#include <gtest/gtest.h>

#include "storage/state_file.h"
#include "storage/test_root.h"

namespace glowplug::app {
namespace {

namespace fs = std::filesystem;
using control::Change;

class LivePlatformTest : public testing::Test {
 protected:
  LivePlatformTest() {
    writer_ = std::make_unique<storage::WriteLoop>(
        storage::WriteLoop::Parts{.file = storage::StateFile::open(dir_ + "/data").value(),
                                  .deliver = [](const auto&) {},
                                  .halted = {}});
    models_ = std::make_unique<models::ModelStore>(
        models::ModelStoreOptions{.cache_dir = dir_ + "/cache"});
    platform_ = std::make_unique<LivePlatform>(LivePlatform::Parts{
        .loop = loop_,
        .clock = clock_,
        .writer = *writer_,
        .models = *models_,
        .brain = {.memory_bytes = 1'000'000'000, .cores = 1},
        .supervisor = {
            .worker_path = dir_ + "/no-worker", .run_dir = dir_ + "/run", .cgroups = false}});
    domain::Manifest manifest;
    manifest.name = "f";
    manifest.engine.kind = domain::EngineKind::Fake;
    EXPECT_TRUE(platform_->put(manifest, std::nullopt).ok());
  }
  ~LivePlatformTest() override {
    platform_.reset();
    writer_.reset();
    fs::remove_all(dir_);
  }

  domain::WatchId watch() {
    const auto id = platform_->watch("f", [this](Change change) {
      heard_.push_back(change);
      const auto view = platform_->function("f");
      states_.push_back(view ? std::string(to_string(view->state)) : "none");
    });
    EXPECT_TRUE(id.ok());
    return *id;
  }
  bool run_until(const std::function<bool()>& reached) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    while (!reached() && std::chrono::steady_clock::now() < end)
      loop_.run_one_for(std::chrono::milliseconds(50));
    return reached();
  }

  const std::string dir_ = storage::make_test_root();
  boost::asio::io_context loop_;
  SystemClock clock_;
  std::unique_ptr<storage::WriteLoop> writer_;
  std::unique_ptr<models::ModelStore> models_;
  std::unique_ptr<LivePlatform> platform_;
  std::vector<Change> heard_;
  std::vector<std::string> states_;
};

TEST_F(LivePlatformTest, UnknownFunction_CannotBeWatched) {
  const auto id = platform_->watch("none", [](Change) {});
  ASSERT_FALSE(id.ok());
  EXPECT_EQ(id.error().code, "model_not_found");
}

TEST_F(LivePlatformTest, Watcher_HearsOfTheStartThatFailedAndOfTheEnd) {
  watch();
  EXPECT_TRUE(heard_.empty());  // watching changes nothing
  EXPECT_EQ(platform_->function("f")->state, domain::State::Cold);
  ASSERT_TRUE(platform_->warm("f", 1, std::chrono::seconds(60)).ok());
  EXPECT_TRUE(run_until([this] { return !states_.empty() && states_.back() == "failed"; }));
  ASSERT_TRUE(platform_->remove("f").ok());
  EXPECT_EQ(heard_.back(), Change::Deleted);
  EXPECT_EQ(states_.back(), "none");
}

TEST_F(LivePlatformTest, Unwatched_HearsNothing) {
  platform_->unwatch(watch());
  ASSERT_TRUE(platform_->remove("f").ok());
  EXPECT_TRUE(heard_.empty());
}

}  // namespace
}  // namespace glowplug::app
