#include "worker/measure.h"

#include <gtest/gtest.h>

namespace glowplug::worker {
namespace {

TEST(Measure, SpreadIsMedianLeastAndGreatest) {
  EXPECT_EQ(spread_of({}), domain::Spread{});
  EXPECT_EQ(spread_of({3}), (domain::Spread{3, 3, 3}));
  EXPECT_EQ(spread_of({9, 1, 2}), (domain::Spread{2, 1, 9}));
  EXPECT_EQ(spread_of({4, 1, 2, 9}), (domain::Spread{3, 1, 9}));
}

TEST(Measure, LineIsOneJsonObject) {
  const std::string line = measured_line({.prefill = {200, 190, 210}, .rounds = 3, .batch = 64});
  EXPECT_TRUE(line.starts_with("{\"measured\":{\"prefill\":{\"median\":2"));
  EXPECT_EQ(line.find('\n'), line.size() - 1);
}

TEST(Measure, FakeFollowsItsOptions) {
  Options options;
  options.threads = 1;
  options.fake.tokens_per_second = 100;
  options.fake.load_ms = 30;
  const domain::Figures one = fake_figures(options);
  EXPECT_EQ(one.load_ms, 30);
  options.threads = 8;
  const domain::Figures many = fake_figures(options);
  EXPECT_DOUBLE_EQ(many.decode.median, 100);
  EXPECT_DOUBLE_EQ(one.decode.median, 50);
  options.tuning = {256, domain::Repack::Off, domain::KvType::Q8_0};
  const domain::Figures off = fake_figures(options);
  EXPECT_GT(off.prefill.median, many.prefill.median);
  EXPECT_LT(off.private_bytes, many.private_bytes);
  EXPECT_EQ(off.batch, 256);
  EXPECT_FALSE(off.repacked);
  options.task = Task::kEmbed;
  EXPECT_EQ(fake_figures(options).decode.median, 0);
}

TEST(Measure, OwnMemoryIsSeen) { EXPECT_GT(MemoryProbe().private_bytes(), 100'000u); }

}  // namespace
}  // namespace glowplug::worker
