#include "metering/usage_record.h"

#include <gmock/gmock.h>

namespace glowplug::metering {
namespace {

using testing::SizeIs;

domain::Receipt receipt() {
  domain::Receipt made{.request = "req_1",
                       .job = domain::JobId{7},
                       .function = "chat",
                       .revision = 3,
                       .key = "key \"x\"\n",
                       .at = WallTime(std::chrono::milliseconds(1'795'824'000'000)),
                       .terminal = "completed",
                       .status = 200,
                       .attempts = 2,
                       .cold = true};
  made.phases[domain::Phase::Queue] = std::chrono::milliseconds(5);
  made.phases[domain::Phase::Load] = std::chrono::milliseconds(500);
  made.phases[domain::Phase::Fork] = std::chrono::milliseconds(10);
  made.phases[domain::Phase::Decode] = std::chrono::milliseconds(1250);
  made.prompt_tokens = 20;
  made.cached_tokens = 4;
  made.completion_tokens = 30;
  made.byte_seconds = 9'000;
  made.devices = {{"CPU", {50'000}, std::chrono::milliseconds(1'260), {17}}};
  made.fee_device = "CPU";
  made.fee = {10};
  made.cost = {27};
  made.platform = {4};
  return made;
}

std::vector<UsageRecord> records(std::string_view text, std::size_t* damaged = nullptr) {
  std::vector<UsageRecord> found;
  const LinesRead read =
      read_lines(text, [&](UsageRecord one) { found.push_back(std::move(one)); });
  if (damaged != nullptr) *damaged = read.damaged;
  return found;
}

TEST(UsageRecord, IntentAndReceipt_ReadAsTheyWereWritten) {
  const Intent intent{"req_1", "chat", 3, WallTime(std::chrono::milliseconds(5))};
  const storage::UsageRow row = storage::usage_row(receipt());
  const auto found = records(line_of(intent) + line_of(row));
  ASSERT_THAT(found, SizeIs(2));
  EXPECT_EQ(std::get<Intent>(found[0]), intent);
  EXPECT_EQ(std::get<storage::UsageRow>(found[1]), row);
}

TEST(UsageRecord, Row_HoldsThePhasesInSecondsAndTheMoneyInMicroUnits) {
  const storage::UsageRow row = storage::usage_row(receipt());
  EXPECT_EQ(row.day, "2026-11-28");
  EXPECT_EQ(row.device_ms, 1'260);
  EXPECT_EQ(row.cost_micros, 27);
  EXPECT_EQ(row.platform_micros, 4);
  EXPECT_NE(
      row.text.find(R"("phases_s":{"queue":5E-3,"cold":5.1E-1,"prefill":0E0,"decode":1.25E0})"),
      std::string::npos)
      << row.text;
  EXPECT_NE(row.text.find(R"("fee":{"device":"CPU","cost_micros":10})"), std::string::npos);
}

// A line is whole or it is none: at each cut of the last one, and with each of its bytes changed.
TEST(UsageRecord, LineThatIsCutOrChanged_IsNone_AndHurtsNoOther) {
  const std::string first = line_of(storage::usage_row(receipt()));
  const std::string second = line_of(Intent{"req_2", "chat", 1, {}});
  for (std::size_t cut = 0; cut < second.size(); ++cut)
    EXPECT_THAT(records(first + second.substr(0, cut)), SizeIs(1)) << cut;
  for (std::size_t i = 0; i + 1 < second.size(); ++i) {
    std::string changed = second;
    changed[i] ^= 1;
    std::size_t damaged = 0;
    EXPECT_THAT(records(changed + first, &damaged), SizeIs(1)) << i;
    EXPECT_GE(damaged, 1U) << i;
  }
}

TEST(UsageRecord, LineAfterOneThatWasCutOff_IsRead) {
  std::size_t damaged = 0;
  const std::string line = line_of(Intent{"req_2", "chat", 1, {}});
  EXPECT_THAT(records(line.substr(0, 20) + "\n" + line, &damaged), SizeIs(1));
  EXPECT_EQ(damaged, 1U);
}

TEST(UsageRecord, LostRow_CostsNothing) {
  const storage::UsageRow row = lost_row({"req_2", "chat", 4, WallTime{}});
  EXPECT_EQ(row.terminal, "lost");
  EXPECT_EQ(row.function, "chat");
  EXPECT_EQ(row.revision, 4);
  EXPECT_EQ(row.cost_micros + row.platform_micros, 0);
}

}  // namespace
}  // namespace glowplug::metering
