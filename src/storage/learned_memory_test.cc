#include "storage/learned_memory.h"

#include <gmock/gmock.h>

#include "storage/test_store.h"

namespace glowplug::storage {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST_F(StoreTest, LearnedMemory_SurvivesReopeningWithItsLastValue) {
  open();
  LearnedMemory before(*store_, "engine 1");
  EXPECT_THAT(*before.load(), IsEmpty());
  ASSERT_TRUE(before.set({"b", 1, 20}));
  ASSERT_TRUE(before.set({"a", 3, 40}));
  ASSERT_TRUE(before.set({"b", 2, 30}));
  open();
  EXPECT_THAT(*LearnedMemory(*store_, "engine 1").load(),
              ElementsAre(LearnedRow{"a", 3, 40}, LearnedRow{"b", 2, 30}));
}

TEST_F(StoreTest, LearnedMemory_OfAnotherEngineBuildIsForgotten) {
  open();
  ASSERT_TRUE(LearnedMemory(*store_, "engine 1").set({"a", 3, 40}));
  EXPECT_THAT(*LearnedMemory(*store_, "engine 2").load(), IsEmpty());
  EXPECT_THAT(*LearnedMemory(*store_, "engine 1").load(), IsEmpty());
}

TEST_F(StoreTest, LearnedMemory_IsThereInAFolderOfAnEarlierSchema) {
  open();
  store_.reset();
  execute("DROP TABLE learned_memory; UPDATE schema_version SET version = 3");
  open();
  EXPECT_TRUE(LearnedMemory(*store_, "engine").set({"a", 3, 40}));
}

}  // namespace
}  // namespace glowplug::storage
