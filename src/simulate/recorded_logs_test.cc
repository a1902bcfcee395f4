// Logs that were recorded once, by a live server and by a run (tests/data/decision_logs): as long
// as the policies have the version that a log names, they decide it as it was.
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/decision_log.h"
#include "simulate/line_reader.h"

namespace glowplug::simulate {
namespace {

namespace fs = std::filesystem;

constexpr const char* kWhatToDo =
    "What is decided on the same events has changed. If that is meant, raise kPolicyVersion in "
    "src/policy/version.h; tests/data/decision_logs/README.md says how logs of it are recorded.";

class RecordedLog : public testing::TestWithParam<const char*> {};

TEST_P(RecordedLog, IsDecidedAsItWas) {
  const std::string path = fs::path(GLOWPLUG_TEST_DATA) / "decision_logs" / GetParam();
  if (!fs::exists(path)) GTEST_SKIP() << path << " is not recorded; README.md beside it says how";
  auto lines = LineReader::open(path, kLogLineBytesMax);
  ASSERT_TRUE(lines.ok()) << lines.error().message;
  control::Replay replay;
  while (true) {
    const auto line = lines->next();
    ASSERT_TRUE(line.ok()) << line.error().message;
    if (!*line) break;
    const auto same = replay.take(**line);
    if (!same && replay.origin().policy != policy::kPolicyVersion)
      GTEST_SKIP() << path << ": " << same.error().message;
    ASSERT_TRUE(same.ok()) << path << ": " << same.error().message << "\n" << kWhatToDo;
    ASSERT_TRUE(*same) << path << ":" << replay.difference()->line << "\n  logged  "
                       << replay.difference()->logged << "\n  decided "
                       << replay.difference()->decided << "\n"
                       << kWhatToDo;
  }
  EXPECT_GT(replay.turns(), 100u);
  EXPECT_EQ(replay.end(), control::kLogClosed);
}

INSTANTIATE_TEST_SUITE_P(Of, RecordedLog, testing::Values("live.log.gz", "simulated.log.gz"),
                         [](const auto& one) {
                           return std::string(one.param, std::string(one.param).find('.'));
                         });

}  // namespace
}  // namespace glowplug::simulate
