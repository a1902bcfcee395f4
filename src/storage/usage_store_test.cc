#include "storage/usage_store.h"

#include <filesystem>
#include <optional>

#include <gmock/gmock.h>

#include "storage/job_text.h"
#include "storage/state_file.h"
#include "storage/test_root.h"

namespace glowplug::storage {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class UsageStoreTest : public ::testing::Test {
 protected:
  UsageStoreTest() {
    auto opened = StateFile::open(root_ + "/data");
    EXPECT_TRUE(opened) << opened.error().message;
    if (opened) state_.emplace(std::move(*opened));
  }
  ~UsageStoreTest() override {
    state_.reset();
    std::filesystem::remove_all(root_);
  }
  Database& database() { return state_->database; }

  static domain::Receipt receipt(const std::string& request, const std::string& function, int day,
                                 std::int64_t cost, const std::string& terminal = "completed") {
    return {.request = request,
            .job = {},
            .function = function,
            .at = WallTime(std::chrono::days(20'000 + day)),
            .terminal = terminal,
            .prompt_tokens = 10,
            .cached_tokens = 4,
            .completion_tokens = 2,
            .cost = {cost},
            .platform = {1}};
  }
  void add(const domain::Receipt& one) {
    const auto added = insert_usage(database(), one);
    ASSERT_TRUE(added) << added.error().message;
  }

  std::string root_ = make_test_root();
  std::optional<StateFile> state_;
};

TEST_F(UsageStoreTest, Row_ReadsAsItWasWritten) {
  domain::Receipt job = receipt("job_7", "chat", 0, 5);
  job.job = domain::JobId{7};
  job.key = "key_1";
  add(job);
  const auto found = find_usage(database(), "job_7");
  ASSERT_TRUE(found);
  ASSERT_TRUE(*found);
  EXPECT_EQ(**found, usage_row(job));
  EXPECT_FALSE(*find_usage(database(), "job_8"));
}

TEST_F(UsageStoreTest, SecondRowOfARequest_ChangesNothing_UnlessItWasThoughtLost) {
  add(receipt("req_1", "chat", 0, 0, "lost"));
  add(receipt("req_1", "chat", 0, 5));
  add(receipt("req_1", "chat", 0, 9));
  add(receipt("req_1", "chat", 0, 0, "lost"));
  const auto sums = sum_usage(database(), {});
  ASSERT_TRUE(sums);
  ASSERT_EQ(sums->size(), 1U);
  EXPECT_EQ(sums->front().requests, 1);
  EXPECT_EQ(sums->front().cost_micros, 5);
  EXPECT_EQ((*find_usage(database(), "req_1"))->terminal, "completed");
}

TEST_F(UsageStoreTest, Sums_AreGroupedAndBoundedByDays) {
  add(receipt("req_1", "chat", 0, 5));
  add(receipt("req_2", "chat", 1, 7));
  add(receipt("req_3", "code", 1, 9));
  const auto names = [this](const UsageQuery& query) {
    std::vector<std::string> lines;
    const auto sums = sum_usage(database(), query);
    for (const UsageSum& sum : *sums)
      lines.push_back(sum.day + "/" + sum.function + "/" + sum.key + " " +
                      std::to_string(sum.requests) + " " + std::to_string(sum.cost_micros));
    return lines;
  };
  EXPECT_THAT(names({.by_function = true}), ElementsAre("/chat/ 2 12", "/code/ 1 9"));
  EXPECT_THAT(names({.by_day = true}), ElementsAre("2024-10-04// 1 5", "2024-10-05// 2 16"));
  EXPECT_THAT(names({.by_function = true, .by_key = true, .by_day = true}),
              ElementsAre("2024-10-04/chat/ 1 5", "2024-10-05/chat/ 1 7", "2024-10-05/code/ 1 9"));
  EXPECT_THAT(names({.from = "2024-10-05"}), ElementsAre("// 2 16"));
  EXPECT_THAT(names({.to = "2024-10-04"}), ElementsAre("// 1 5"));
  EXPECT_THAT(names({.from = "2024-10-06"}), IsEmpty());
  const UsageSum all = sum_usage(database(), {})->front();
  EXPECT_EQ(all.platform_micros, 3);
  EXPECT_EQ(all.prompt_tokens, 30);
  EXPECT_EQ(all.cached_tokens, 12);
  EXPECT_EQ(all.completion_tokens, 6);
}

TEST_F(UsageStoreTest, RowThatWasChangedUnderneath_IsNotRead) {
  add(receipt("req_1", "chat", 0, 5));
  ASSERT_TRUE(database().execute("UPDATE usage SET cost_micros = 4"));
  const auto found = find_usage(database(), "req_1");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, "storage_failed");
}

TEST_F(UsageStoreTest, Folded_IsRememberedAndForgotten) {
  EXPECT_EQ(*folded_until(database(), "000000000001.log"), 0);
  ASSERT_TRUE(set_folded(database(), "000000000001.log", 500));
  ASSERT_TRUE(set_folded(database(), "000000000001.log", 700));
  EXPECT_EQ(*folded_until(database(), "000000000001.log"), 700);
  ASSERT_TRUE(forget_folded(database(), "000000000001.log"));
  EXPECT_EQ(*folded_until(database(), "000000000001.log"), 0);
}

TEST(UsageRow, TextThatIsNoReceipt_IsAnError) {
  for (const char* text : {"", "[]", "{}", "{\"request\":\"r\",\"terminal\":\"completed\"}", "{"})
    EXPECT_FALSE(read_usage_row(text)) << text;
}

// As a number it would lose its last digits in a reader that knows doubles only.
TEST(UsageRow, Job_IsShownAsItsEndpointsShowIt) {
  const domain::JobId job = job_id(kJobEpochMax, 42);
  const UsageRow row = usage_row({.request = "req_1", .job = job, .terminal = "completed"});
  EXPECT_THAT(row.text, HasSubstr(R"("job":"job_7fffff000000002a")"));
  const auto read = read_usage_row(row.text);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, row);
  std::string other = row.text;
  other.replace(other.find("job_"), 4, "jab_");
  EXPECT_FALSE(read_usage_row(other));
  EXPECT_THAT(usage_row({.request = "req_1", .job = {}}).text, HasSubstr(R"("job":null)"));
}

}  // namespace
}  // namespace glowplug::storage
