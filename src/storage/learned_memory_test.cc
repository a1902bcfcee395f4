#include "storage/learned_memory.h"

#include <gmock/gmock.h>

#include "storage/test_store.h"

namespace glowplug::storage {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST_F(StoreTest, LearnedMemory_SurvivesReopeningWithItsLastValue) {
  open();
  LearnedMemory before(*writer_, "engine 1");
  EXPECT_THAT(*before.load(), IsEmpty());
  before.set({"b", 1, 20}, {});
  before.set({"a", 3, 40}, {});
  before.set({"b", 2, 30}, {});
  open();
  EXPECT_THAT(*LearnedMemory(*writer_, "engine 1").load(),
              ElementsAre(LearnedRow{"a", 3, 40}, LearnedRow{"b", 2, 30}));
}

TEST_F(StoreTest, LearnedMemory_OfAnotherEngineBuildIsForgotten) {
  open();
  LearnedMemory(*writer_, "engine 1").set({"a", 3, 40}, {});
  EXPECT_THAT(*LearnedMemory(*writer_, "engine 2").load(), IsEmpty());
  EXPECT_THAT(*LearnedMemory(*writer_, "engine 1").load(), IsEmpty());
}

TEST_F(StoreTest, LearnedMemory_IsThereInAFolderOfAnEarlierSchema) {
  open();
  close();
  execute(kWithoutQueue);
  execute("DROP TABLE learned_memory; UPDATE schema_version SET version = 3");
  open();
  bool heard = false, kept = false;
  LearnedMemory(*writer_, "engine").set({"a", 3, 40}, [&heard, &kept](const Result<void>& told) {
    heard = true;
    kept = told.ok();
  });
  ASSERT_TRUE(inbox_.drain_until([&heard] { return heard; }));
  EXPECT_TRUE(kept);
}

}  // namespace
}  // namespace glowplug::storage
