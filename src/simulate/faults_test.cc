// Faults that the platform promises to bear, each played alone in a simulated world: crash loops,
// clocks that jump, news that is doubled or late, two that want the same memory, a drain in the
// midst of a load. Calls that kill their replica: crashes_test.cc.
#include <algorithm>

#include "domain/errors.h"
#include "simulate/seconds.h"
#include "simulate/test_world.h"

namespace glowplug::simulate {
namespace {

class Faults : public WatchedWorld {
 protected:
  std::size_t count(CallOutcome outcome) const {
    return static_cast<std::size_t>(
        std::count_if(ends.results.begin(), ends.results.end(),
                      [outcome](const CallResult& one) { return one.outcome == outcome; }));
  }
};

// --- a function that never starts ---

TEST_F(Faults, CrashLoopOnStart_StartsSeldomAnswersAtOnceAndComesBackByItself) {
  make(exact());
  StartCount starts;
  world->watch(starts);
  const std::uint32_t broken = world->deploy("broken"), sound = world->deploy("sound");
  answer(sound);
  world->fail_starts(broken, 1'000'000);
  ends.results.clear();
  for (int i = 0; i < 3000; ++i) {  // ten a second for five minutes
    call(broken);
    if (i % 10 == 0) call(sound);
    pass_by(100ms);
  }
  EXPECT_LE(starts.of["broken"], 20);
  EXPECT_GE(starts.of["broken"], 3);  // it is tried again
  EXPECT_GE(starts.retry_after_most, 1);
  EXPECT_LE(starts.retry_after_most, 60);
  for (const CallResult& result : ends.results) {
    if (result.function == sound) {
      EXPECT_EQ(result.outcome, CallOutcome::Answered);
    } else {
      EXPECT_EQ(result.error, domain::error::kFunctionFailed);
      EXPECT_LE(result.ended - result.arrived, 1s);
    }
  }
  world->fail_starts(broken, 0);
  pass_by(65s);
  EXPECT_EQ(answer(broken).outcome, CallOutcome::Answered);
}

TEST_F(Faults, ThousandCallsAtAColdFunction_AreOneLoadAndNoCallIsLost) {
  WorldModel model = exact();
  model.function.limits.queue_timeout = 60s;
  make(model);
  StartCount starts;
  world->watch(starts);
  const std::uint32_t function = world->deploy("f");
  for (int i = 0; i < 1000; ++i) call(function, 5, 2);
  settle_all();
  EXPECT_EQ(ends.results.size(), 1000u);
  EXPECT_EQ(count(CallOutcome::Answered) + count(CallOutcome::Refused), 1000u);
  EXPECT_GE(count(CallOutcome::Answered), 512u);
  EXPECT_EQ(starts.loads, 1);
  EXPECT_LE(starts.of["f"], 3);  // a template, its replica and a spare
}

// --- clocks ---

TEST_F(Faults, WallClockThatJumpsADay_ChangesNoCall) {
  const auto run = [this](bool jumps) {
    WorldModel model;
    model.function.limits.queue_timeout = 5s;
    model.function.keep_alive = 20s;
    make(model, {.seed = 9, .wall = WallTime(std::chrono::hours(24 * 365 * 50))});
    const std::uint32_t function = world->deploy("f");
    for (int i = 0; i < 200; ++i) {
      call(function, 30, 20);
      if (jumps) world->step_wall(std::chrono::hours(i % 2 == 0 ? 24 : -48));
      pass_by(i % 20 == 19 ? 40s : 700ms);
    }
    settle_all();
    std::vector<std::pair<CallOutcome, Duration>> told;
    for (const CallResult& result : ends.results)
      told.emplace_back(result.outcome, result.ended - result.arrived);
    return told;
  };
  const auto steady = run(false), jumping = run(true);
  EXPECT_EQ(steady.size(), 200u);
  EXPECT_EQ(steady, jumping);
}

// --- news ---

TEST_F(Faults, EveryNewsToldFiveTimes_ChangesNoAnswer) {
  WorldModel model = exact();
  model.function.keep_alive = 5s;
  make(model);
  world->set_post({.doubled = 1, .copies = 4, .late_by = 300ms});
  const std::uint32_t function = world->deploy("f");
  for (int i = 0; i < 100; ++i) {
    call(function);
    pass_by(i % 10 == 9 ? 20s : 400ms);
  }
  settle_all();
  EXPECT_EQ(count(CallOutcome::Answered), 100u);
}

TEST_F(Faults, NewsOfAProcessThatIsGone_IsIgnored) {
  make(exact());
  const std::uint32_t function = world->deploy("f");
  answer(function);
  call(function, 20, 300);
  pass_by(1s);
  const domain::ProcessId gone = world->processes(World::Kind::Replica).front();
  ASSERT_TRUE(world->crash(gone, World::Death::Killed, "fenced"));
  const CallResult broken = ends.results.back();
  EXPECT_EQ(broken.outcome, CallOutcome::Broken);
  for (const control::Event& late : std::initializer_list<control::Event>{
           control::ProcessReady{.process = gone}, control::CallEnded{broken.call},
           control::ReplicaAssigned{gone}, control::ReplicaAwake{gone},
           control::MemoryMeasured{gone, 1 << 30, 1 << 30},
           control::ProcessGone{gone, "again", control::Ending::Itself}})
    world->post(late);
  EXPECT_EQ(answer(function).outcome, CallOutcome::Answered);
}

// --- two that want the same bytes ---

TEST_F(Faults, TwoThatStartAtTheSameMoment_AreReservedBeforeTheyStart) {
  for (const bool on_device : {false, true}) {
    WorldModel model = exact();
    model.function.template_use = domain::TemplateUse::Off;
    model.machine.template_bytes = 0;
    if (on_device)
      model.machine.devices = {{.name = "T4", .type = "T4", .memory_bytes = 400 * kMegabyte}};
    else
      model.machine.memory_bytes = 420 * kMegabyte;
    make(model);
    const std::uint32_t first = world->deploy("a"), second = world->deploy("b");
    call(first);
    call(second);
    EXPECT_EQ(world->process_count(), 1u);  // the other waits for its turn
    settle_all();
    EXPECT_EQ(count(CallOutcome::Answered), 2u);
    EXPECT_FALSE(checkers->violation());
  }
}

TEST_F(Faults, OneThatFitsNowhere_IsToldSoAndHarmsNobody) {
  WorldModel model = exact();
  model.machine.memory_bytes = 420 * kMegabyte;
  model.machine.template_bytes = 0;
  make(model);
  const std::uint32_t small = world->deploy("small");
  domain::Manifest large = manifest_of(model, "large");
  large.slots = 64;
  const std::uint32_t function = world->deploy(large);
  EXPECT_EQ(answer(small).outcome, CallOutcome::Answered);
  EXPECT_EQ(answer(function).error, domain::error::kDoesNotFit);
  EXPECT_FALSE(answer(small).cold);
}

// --- a drain while it loads ---

TEST_F(Faults, DrainWhileAModelLoads_EndsTheLoadAndTellsWhoWaits) {
  WorldModel model = exact();
  model.starts.exec = 30s;
  make(model);
  const std::uint32_t function = world->deploy("f");
  for (int i = 0; i < 5; ++i) call(function);
  pass_by(5s);
  EXPECT_GT(world->process_count(), 0u);
  world->post(control::DrainStarted{});
  pass_by(1s);
  ASSERT_EQ(ends.results.size(), 5u);
  for (const CallResult& result : ends.results)
    EXPECT_EQ(result.error, domain::error::kShuttingDown);
  EXPECT_EQ(world->process_count(), 0u);
  EXPECT_EQ(controller->brain().reserved_bytes(), 0u);
}

TEST_F(Faults, DrainWhileItAnswers_LetsTheAnswerEnd) {
  make(exact());
  const std::uint32_t function = world->deploy("f");
  answer(function);
  call(function, 20, 200);
  pass_by(1s);
  world->post(control::DrainStarted{});
  settle_all();
  EXPECT_EQ(ends.results.back().outcome, CallOutcome::Answered);
  pass_by(1s);
  EXPECT_EQ(world->process_count(), 0u);
}

}  // namespace
}  // namespace glowplug::simulate
