#include "worker/thread_count.h"

#include <gtest/gtest.h>

namespace glowplug::worker {
namespace {

TEST(ThreadCount, FollowsOrders_WithinWhatThereIs) {
  ThreadCount count({.threads = 2, .most = 4});
  EXPECT_EQ(count.now(), 2);
  const auto after = [&count](boost::json::object fields) {
    count.obey({.fields = std::move(fields), .descriptors = {}});
    return count.now();
  };
  EXPECT_EQ(after({{"threads", 4}}), 4);
  EXPECT_EQ(after({{"threads", 1}}), 1);
  EXPECT_EQ(after({{"threads", 64}}), 4);
  EXPECT_EQ(after({{"threads", std::int64_t{1} << 40}}), 4);
}

TEST(ThreadCount, AnythingElse_ChangesNothing) {
  ThreadCount count({.threads = 2, .most = 4});
  for (const boost::json::value& value :
       {boost::json::value(0), boost::json::value(-3), boost::json::value("3"),
        boost::json::value(1.5), boost::json::value(nullptr)})
    count.obey({.fields = {{"threads", value}}, .descriptors = {}});
  count.obey({.fields = {{"keep", "idle"}}, .descriptors = {}});
  EXPECT_EQ(count.now(), 2);
}

}  // namespace
}  // namespace glowplug::worker
