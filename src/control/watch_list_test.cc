// Watchers against a table of statuses, and against the real brain.
#include "control/watch_list.h"

#include <memory>

#include <gtest/gtest.h>

#include "base/units.h"
#include "control/brain.h"
#include "domain/limits.h"

namespace glowplug::control {
namespace {

using namespace std::chrono_literals;
using domain::State;

class WatchListTest : public testing::Test {
 protected:
  domain::WatchId watch(const std::string& name, std::vector<Change>& heard) {
    const auto id =
        list.add(name, table.at(name), [&heard](Change change) { heard.push_back(change); });
    EXPECT_TRUE(id.ok());
    return *id;
  }
  void look() {
    list.look([this](const std::string& name) {
      ++asked;
      const auto found = table.find(name);
      return found == table.end() ? std::nullopt : std::optional(found->second);
    });
  }

  WatchList list;
  std::map<std::string, FunctionStatus> table{{"f", {}}, {"g", {}}};
  int asked = 0;
};

TEST(ChangeBetween, Fields_AreStateButForTheFractions) {
  const FunctionStatus before{.revision = 1, .replicas = {{.replica = {1}}}};
  using Edit = void (*)(FunctionStatus&);
  const std::pair<Edit, Change> cases[] = {
      {[](FunctionStatus&) {}, Change::None},
      {[](FunctionStatus& s) { s.progress = 0.5; }, Change::Progress},
      {[](FunctionStatus& s) { s.replicas[0].progress = 0.5; }, Change::Progress},
      {[](FunctionStatus& s) { s.state = State::Ready; }, Change::State},
      {[](FunctionStatus& s) { s.revision = 2; }, Change::State},
      {[](FunctionStatus& s) { s.tier = domain::Tier::Disk; }, Change::State},
      {[](FunctionStatus& s) { s.reason = "verify"; }, Change::State},
      {[](FunctionStatus& s) { s.replicas[0].state = State::Ready; }, Change::State},
      {[](FunctionStatus& s) { s.replicas[0].revision = 2; }, Change::State},
      {[](FunctionStatus& s) { s.replicas.clear(); }, Change::State},
      {[](FunctionStatus& s) { s.replicas.push_back({.replica = {2}}); }, Change::State},
      {[](FunctionStatus& s) { s.progress = 0.5, s.state = State::Loading; }, Change::State}};
  for (const auto& [edit, change] : cases) {
    FunctionStatus after = before;
    edit(after);
    EXPECT_EQ(change_between(before, after), change);
  }
}

TEST_F(WatchListTest, NobodyWatches_NothingIsAsked) {
  look();
  EXPECT_EQ(asked, 0);
}

TEST_F(WatchListTest, Change_IsToldOnceToEachWatcherOfThatFunction) {
  std::vector<Change> first, second, other;
  watch("f", first);
  watch("f", second);
  watch("g", other);
  look();
  EXPECT_EQ(asked, 2);  // once per function
  table["f"].state = State::Loading;
  look();
  look();
  table["f"].progress = 0.5;
  look();
  EXPECT_EQ(first, (std::vector{Change::State, Change::Progress}));
  EXPECT_EQ(second, first);
  EXPECT_TRUE(other.empty());
}

TEST_F(WatchListTest, Unwatched_HearsNothingMoreAndCostsNothing) {
  std::vector<Change> heard;
  const domain::WatchId id = watch("f", heard);
  list.remove(id);
  list.remove(id);
  table["f"].state = State::Ready;
  look();
  EXPECT_TRUE(heard.empty());
  EXPECT_EQ(asked, 0);
  EXPECT_EQ(list.size(), 0u);
}

TEST_F(WatchListTest, Deleted_IsTheLastWord) {
  std::vector<Change> heard;
  const domain::WatchId id = watch("f", heard);
  table.erase("f");
  look();
  table["f"] = {.revision = 7};  // the name again, another function
  look();
  EXPECT_EQ(heard, std::vector{Change::Deleted});
  list.remove(id);
  EXPECT_EQ(list.size(), 0u);
}

TEST_F(WatchListTest, OneLeavesWhileOthersAreTold_IsNotCalledAgain) {
  std::vector<Change> heard;
  domain::WatchId second;
  const auto first = list.add("f", {}, [&](Change) { list.remove(second); });
  second = watch("f", heard);
  table["f"].state = State::Ready;
  look();
  EXPECT_TRUE(heard.empty());
  EXPECT_EQ(list.size(), 1u);
  list.remove(*first);
}

TEST_F(WatchListTest, NameDeployedAnewWhileDeletedIsTold_NewWatcherStays) {
  std::vector<Change> renewed;
  domain::WatchId second;
  const auto first = list.add("f", {}, [&](Change) {
    table["f"] = {};
    watch("f", renewed);
    list.remove(second);
  });
  std::vector<Change> heard;
  second = watch("f", heard);
  table.erase("f");
  look();
  table["f"].state = State::Ready;
  look();
  EXPECT_TRUE(heard.empty());
  EXPECT_EQ(renewed, std::vector{Change::State});
}

TEST_F(WatchListTest, WatcherThatRemovesItself_MayDoSo) {
  auto owned = std::make_shared<int>(0);
  domain::WatchId id;
  const auto added = list.add("f", {}, [this, &id, owned](Change) {
    list.remove(id);
    ++*owned;
  });
  id = *added;
  table["f"].state = State::Ready;
  look();
  EXPECT_EQ(*owned, 1);
  EXPECT_EQ(owned.use_count(), 1);
}

TEST_F(WatchListTest, Full_IsRefusedUntilOneLeaves) {
  std::vector<Change> heard;
  domain::WatchId last;
  for (std::size_t i = 0; i < domain::kWatchersMax; ++i) last = watch("f", heard);
  const auto refused = list.add("f", {}, [](Change) {});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, "server_is_overloaded");
  list.remove(last);
  EXPECT_TRUE(list.add("f", {}, [](Change) {}).ok());
}

// A fetch, a cold start and the way back to zero, as a watcher of the brain sees them.
TEST(Watching, ColdFunction_FetchLoadReadyDrainCold) {
  Brain brain({.memory_bytes = 1'000'000'000, .cores = 1});
  WatchList list;
  Time now{1000s};
  std::vector<std::string> seen;
  const auto status_of = [&brain](const std::string& name) { return brain.status(name); };
  const auto post = [&](const Event& event) {
    brain.handle(event, now);
    list.look(status_of);
  };
  domain::Manifest manifest;
  manifest.name = "f";
  manifest.keep_alive = 1s;
  manifest.resources.memory_bytes = 1'000'000;
  brain.handle(FunctionPut{manifest, 1}, now);
  const auto id = list.add("f", *brain.status("f"), [&](Change change) {
    const auto status = brain.status("f");
    if (!status) return seen.emplace_back("deleted");
    const std::string kind = change == Change::State ? "" : "progress ";
    return seen.emplace_back(kind + std::string(to_string(status->state)) + " " +
                             std::string(to_string(status->tier)));
  });
  ASSERT_TRUE(id.ok());
  post(ModelProgress{"f", 1, 0.1, "fetch"});
  post(ModelProgress{"f", 1, 0.2, "fetch"});
  post(ModelPrepared{"f", 1, {}});
  post(CallArrived{.call = {1}, .function = "f", .deadline = now + 60s});
  post(ProcessProgress{{1}, 0.5});
  post(ProcessReady{{1}});
  post(CallEnded{{1}});  // no change that a watcher hears of
  now += 2s;
  post(Tick{});
  post(ProcessGone{{1}, "ended"});
  post(FunctionDeleted{"f"});
  EXPECT_EQ(seen,
            (std::vector<std::string>{"loading remote", "progress loading remote", "cold disk",
                                      "loading disk", "progress loading disk", "ready replica",
                                      "draining disk", "cold disk", "deleted"}));
}

TEST(Watching, IdleTimer_RunsOut) {
  Brain brain({.memory_bytes = 1'000'000'000, .cores = 1});
  WatchList list;
  domain::Manifest manifest;
  manifest.name = "f";
  manifest.keep_alive = 10s;
  manifest.resources.memory_bytes = 1'000'000;
  Time now{1000s};
  brain.handle(FunctionPut{manifest, 1}, now);
  brain.handle(ModelPrepared{"f", 1, {}}, now);
  ASSERT_TRUE(list.add("f", *brain.status("f"), [](Change) {}).ok());
  EXPECT_EQ(brain.replicas(), 0u);
  brain.handle(CallArrived{.call = {1}, .function = "f", .deadline = now + 60s}, now);
  brain.handle(ProcessReady{{1}}, now);
  const Effects after = brain.handle(CallEnded{{1}}, now);
  for (int i = 0; i < 9; ++i) {
    now += 1s;
    list.look([&brain](const std::string& name) { return brain.status(name); });
  }
  EXPECT_EQ(after.wake_at, Time{1005s});
  now += 1s;
  brain.handle(Tick{}, now);
  EXPECT_EQ(brain.status("f")->state, State::Draining);
}

}  // namespace
}  // namespace glowplug::control
