#include "storage/checkpoint_store.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "storage/test_store.h"

namespace glowplug::storage {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class CheckpointTest : public StoreTest {
 protected:
  void open_both() {
    open();
    ASSERT_TRUE(store_);
    checkpoints_ = std::make_unique<CheckpointStore>(*writer_, [](std::string_view text) {
      return fmt::format("{}", std::hash<std::string_view>{}(text));
    });
  }
  std::vector<int> damaged() {
    std::vector<int> steps;
    const std::vector<StoredCheckpoint> list = *checkpoints_->list("a");
    for (const StoredCheckpoint& one : list)
      if (!one.damage.empty()) steps.push_back(one.step);
    return steps;
  }
  std::unique_ptr<CheckpointStore> checkpoints_;
};

StoredCheckpoint checkpoint(int step, std::string content = R"({"x":1})") {
  return {
      .step = step, .revision = 3, .created_ms = 1'700'000'000'000, .content = std::move(content)};
}

TEST_F(CheckpointTest, Added_SurvivesReopeningAsItWas) {
  open_both();
  const StoredCheckpoint odd = checkpoint(20, "';DROP TABLE checkpoints;-- \n\xE2\x82\xAC");
  ASSERT_TRUE(checkpoints_->add("a", odd));
  ASSERT_TRUE(checkpoints_->add("a", checkpoint(10)));
  ASSERT_TRUE(checkpoints_->add("b", checkpoint(10)));
  open_both();
  EXPECT_THAT(*checkpoints_->list("a"), ElementsAre(checkpoint(10), odd));
  EXPECT_TRUE(checkpoints_->list("c")->empty());
}

TEST_F(CheckpointTest, AddedWithoutClosing_IsOnTheDiskAlready) {
  open_both();
  ASSERT_TRUE(checkpoints_->add("a", checkpoint(10)));
  std::filesystem::copy(data_, root_ + "/copy", std::filesystem::copy_options::recursive);
  close();
  data_ = root_ + "/copy";  // what a killed server would leave
  open_both();
  EXPECT_THAT(*checkpoints_->list("a"), ElementsAre(checkpoint(10)));
}

TEST_F(CheckpointTest, StepThatExists_IsRefusedAndNothingChanges) {
  open_both();
  ASSERT_TRUE(checkpoints_->add("a", checkpoint(10)));
  const Result<void> again = checkpoints_->add("a", checkpoint(10, "other"));
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, "checkpoint_conflict");
  EXPECT_THAT(again.error().message, HasSubstr("checkpoint-10 of `a` exists"));
  EXPECT_THAT(*checkpoints_->list("a"), ElementsAre(checkpoint(10)));
}

TEST_F(CheckpointTest, AnyColumnChanged_IsDamagedAndGivesNoContent) {
  for (const char* change :
       {"content = replace(content, '1', '2')", "content = substr(content, 1, 3)", "content = ''",
        "revision = 4", "created_ms = created_ms + 1", "step = 11", "checksum = ''",
        "checksum = replace(checksum, substr(checksum, 1, 1), 'x')",
        "content = cast(x'7b2278223aff7d' as text)"}) {
    open_both();
    ASSERT_TRUE(checkpoints_->add("a", checkpoint(10)));
    ASSERT_TRUE(checkpoints_->add("a", checkpoint(20)));
    close();
    execute(fmt::format("UPDATE checkpoints SET {} WHERE step = 10", change));
    open_both();
    EXPECT_EQ(damaged().size(), 1u) << change;
    const std::vector<StoredCheckpoint> list = *checkpoints_->list("a");
    EXPECT_THAT(list.front().damage, HasSubstr("checksum")) << change;
    EXPECT_EQ(list.front().content, "") << change;
    EXPECT_EQ(list.back(), checkpoint(20)) << change;
    ASSERT_TRUE(store_->remove("a"));
  }
}

TEST_F(CheckpointTest, RowOfAnotherFunction_IsDamaged) {
  open_both();
  ASSERT_TRUE(checkpoints_->add("b", checkpoint(10)));
  close();
  execute("UPDATE checkpoints SET name = 'a'");
  open_both();
  EXPECT_THAT(damaged(), ElementsAre(10));
}

TEST_F(CheckpointTest, DamagedStep_CanBeRemovedAndSavedAgain) {
  open_both();
  ASSERT_TRUE(checkpoints_->add("a", checkpoint(10)));
  close();
  execute("UPDATE checkpoints SET content = 'x'");
  open_both();
  EXPECT_FALSE(checkpoints_->add("a", checkpoint(10)));
  ASSERT_TRUE(checkpoints_->remove("a", 10));
  ASSERT_TRUE(checkpoints_->remove("a", 10));
  ASSERT_TRUE(checkpoints_->add("a", checkpoint(10)));
  EXPECT_TRUE(damaged().empty());
}

TEST_F(CheckpointTest, RemovedFunction_TakesItsCheckpointsWithIt) {
  open_both();
  ASSERT_TRUE(store_->put("a", 1, "{}"));
  ASSERT_TRUE(checkpoints_->add("a", checkpoint(10)));
  ASSERT_TRUE(checkpoints_->add("b", checkpoint(10)));
  ASSERT_TRUE(store_->remove("a"));
  EXPECT_TRUE(checkpoints_->list("a")->empty());
  EXPECT_EQ(checkpoints_->list("b")->size(), 1u);
}

}  // namespace
}  // namespace glowplug::storage
