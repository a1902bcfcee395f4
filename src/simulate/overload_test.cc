// What the platform promises when there is more work than it can do: waits stay bounded, goodput
// holds, what cannot be served is refused at once and honestly, models in turn do not thrash.
#include <algorithm>

#include "simulate/random.h"
#include "simulate/seconds.h"
#include "simulate/test_world.h"

namespace glowplug::simulate {
namespace {

constexpr Duration kPatience = 500ms;  // in a queue

// One function on one replica of four slots, whose callers wait that long at most.
WorldModel one_replica() {
  WorldModel model = exact();
  model.function.scale.max = 1;
  model.function.keep_alive = kForever;
  model.function.limits.queue_timeout = kPatience;
  return model;
}

// Answers of 40 tokens to prompts of 50: two cores do no more than that, whatever comes.
constexpr int kPrompt = 50, kOutput = 40;
constexpr double kCapacity = 1.65;  // calls a second

class Overload : public WatchedWorld {
 protected:
  struct Span {
    double answered_per_s = 0;
    Duration longest_wait{}, longest_refusal{};  // since it was known: on arrival, or out of time
    std::size_t refused_on_arrival = 0;
    Duration answer_p99{};  // from arrival to the last token
    std::size_t refused = 0, calls = 0;
  };
  // Calls at so many times the capacity; of those that came after the first half minute.
  Span load(std::uint32_t function, double times, Duration length) {
    const std::size_t before = ends.results.size();
    const Time measured_from = world->now() + 30s, end = world->now() + length;
    Random random(7);  // calls come as they please
    while (world->now() < end) {
      call(function, kPrompt, kOutput);
      pass_by(from_seconds(random.exponential(1 / (kCapacity * times))));
    }
    settle_all();
    Span span;
    std::vector<Duration> answers;
    for (std::size_t i = before; i < ends.results.size(); ++i) {
      const CallResult& result = ends.results[i];
      if (result.arrived < measured_from) continue;
      ++span.calls;
      if (result.outcome == CallOutcome::Refused) {
        ++span.refused;
        const Duration took = result.ended - result.arrived;
        span.refused_on_arrival += took < kPatience ? 1 : 0;
        span.longest_refusal =
            std::max(span.longest_refusal, took < kPatience ? took : took - kPatience);
        continue;
      }
      span.longest_wait = std::max(span.longest_wait, *result.granted - result.arrived);
      if (result.outcome != CallOutcome::Answered) continue;
      answers.push_back(result.ended - result.arrived);
      span.answered_per_s += result.ended <= end ? 1 : 0;
    }
    span.answered_per_s /= to_seconds(length - 30s);
    std::sort(answers.begin(), answers.end());
    if (!answers.empty()) span.answer_p99 = answers[answers.size() * 99 / 100];
    return span;
  }
};

TEST_F(Overload, AtThreeTimesTheCapacity_GoodputAndLatencyHold) {
  make(one_replica());
  const std::uint32_t function = world->deploy("f");
  answer(function);
  const Span calm = load(function, 0.8, 10min);
  const Span full = load(function, 1, 10min);
  const Span over = load(function, 3, 10min);
  EXPECT_LE(calm.refused, calm.calls / 4);
  EXPECT_LE(over.answer_p99, 2 * calm.answer_p99);
  EXPECT_GE(over.answered_per_s, 0.9 * full.answered_per_s);
  EXPECT_GT(over.refused, over.calls / 2);
  EXPECT_LE(over.longest_wait, kPatience);
  EXPECT_LE(over.longest_refusal, 50ms);
  EXPECT_GE(over.refused_on_arrival, over.refused * 9 / 10);
}

TEST_F(Overload, OnceTheLoadIsLess_WaitsAreShortAgainWithinFiveSeconds) {
  make(one_replica());
  const std::uint32_t function = world->deploy("f");
  answer(function);
  call_every(from_seconds(1 / (3 * kCapacity)), 10min, function, kPrompt, kOutput);
  const std::size_t before = ends.results.size();
  const Time less = world->now();
  call_every(from_seconds(2 / kCapacity), 1min, function, kPrompt, kOutput);
  settle_all();
  for (std::size_t i = before; i < ends.results.size(); ++i) {
    const CallResult& result = ends.results[i];
    if (result.arrived < less + 5s) continue;
    EXPECT_EQ(result.outcome, CallOutcome::Answered) << to_seconds(result.arrived - less);
    EXPECT_LE(*result.granted - result.arrived, 100ms) << to_seconds(result.arrived - less);
  }
}

// Of two models only one fits; both are called all the time.
TEST_F(Overload, TwoModelsOnADeviceWhereOneFits_AreBothServed) {
  WorldModel model = exact();
  model.machine.devices = {{.name = "T4", .type = "T4", .memory_bytes = 400 * kMegabyte}};
  make(model);
  StartCount starts;
  world->watch(starts);
  const std::uint32_t first = world->deploy("a"), second = world->deploy("b");
  const Time end = world->now() + 10min;
  for (bool odd = false; world->now() < end; odd = !odd) {
    call(odd ? second : first, kPrompt, kOutput);
    pass_by(500ms);
  }
  settle_all();
  Duration longest_wait{};
  for (const CallResult& result : ends.results) {
    EXPECT_EQ(result.outcome, CallOutcome::Answered) << result.error;
    if (result.granted) longest_wait = std::max(longest_wait, *result.granted - result.arrived);
  }
  EXPECT_LE(longest_wait, 2s);
  EXPECT_LE(starts.loads, static_cast<int>(ends.results.size()) * 2 / 3);
}

// The same with files that take seconds to load: each keeps its turn through the half seconds in
// which nothing is in flight, so that most of the time goes into answers.
TEST_F(Overload, TwoModelsThatTakeLongToLoad_AreAnsweredInLongTurns) {
  WorldModel model = exact();
  model.machine.devices = {{.name = "T4", .type = "T4", .memory_bytes = 3'000 * kMegabyte}};
  model.models.front().file_bytes = model.models.front().weight_bytes = 2'000 * kMegabyte;
  make(model);
  StartCount starts;
  world->watch(starts);
  const std::uint32_t functions[] = {world->deploy("a"), world->deploy("b")};
  const Time end = world->now() + 10min;
  for (std::size_t i = 0; world->now() < end; ++i) {
    call(functions[i % 2], kPrompt, kOutput);
    pass_by(500ms);
  }
  settle_all();
  Duration longest_wait{};
  for (const CallResult& result : ends.results) {
    ASSERT_EQ(result.outcome, CallOutcome::Answered) << result.error;
    longest_wait = std::max(longest_wait, *result.granted - result.arrived);
  }
  EXPECT_LE(starts.loads, static_cast<int>(ends.results.size()) / 18);
  EXPECT_LE(longest_wait, 15s);
  EXPECT_GE(starts.loads, 10);  // both have their turns
}

}  // namespace
}  // namespace glowplug::simulate
