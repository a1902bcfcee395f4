// What the platform promises to those who share it: no tenant with work waits for long behind
// another, long prompts are served, and everything that came is counted once.
#include <algorithm>
#include <map>

#include "domain/errors.h"
#include "simulate/test_world.h"

namespace glowplug::simulate {
namespace {

using Fairness = WatchedWorld;

// A tenant's turn on a replica (domain::kTurn), and what a change of the replica takes.
constexpr Duration kQuantum = 2s;
constexpr Duration kChange = 1s;

// One replica at most; one tenant floods it, the others call now and then.
TEST_F(Fairness, TenantsOfOneFunction_WaitNoLongerThanATurnOfEachOther) {
  constexpr std::uint32_t kTenants = 4;
  WorldModel model = exact();
  model.function.scale.max = 1;
  model.function.limits.queue_timeout = 60s;
  struct Waits final : public Observer {
    void turned(const Turn& turn) override {
      if (const auto* arrived = std::get_if<control::CallArrived>(&turn.event))
        tenants[arrived->call] = arrived->domain.tenant;
    }
    void call_ended(const CallResult& result) override {
      const Duration wait =
          result.granted ? *result.granted - result.arrived : result.ended - result.arrived;
      if (result.outcome == CallOutcome::Refused)
        ++refused[tenants[result.call]];
      else
        longest[tenants[result.call]] = std::max(longest[tenants[result.call]], wait);
    }
    std::map<domain::CallId, std::string> tenants;
    std::map<std::string, Duration> longest;
    std::map<std::string, int> refused;
  } waits;
  make(model);
  world->watch(waits);
  const std::uint32_t function = world->deploy("f");
  for (int second = 0; second < 600; ++second) {
    for (int i = 0; i < 4; ++i) call(function, 20, 30, 1);  // more than can be done
    if (second % 20 == 0)
      for (std::uint32_t tenant = 2; tenant <= kTenants; ++tenant) call(function, 20, 30, tenant);
    pass_by(1s);
  }
  settle_all();
  for (const char* tenant : {"t2", "t3", "t4"}) {
    EXPECT_EQ(waits.refused[tenant], 0) << tenant;
    EXPECT_LE(waits.longest[tenant], kTenants * (kQuantum + kChange)) << tenant;
  }
}

// Functions whose models do not fit together.
TEST_F(Fairness, FunctionsThatShareTheMemory_AreAllServedInTurn) {
  constexpr int kFunctions = 3;
  WorldModel model = exact();
  model.machine.memory_bytes = 420 * kMegabyte;
  model.function.template_use = domain::TemplateUse::Off;
  model.function.limits.queue_timeout = 60s;
  make(model);
  for (int i = 0; i < kFunctions; ++i) world->deploy("fn-" + std::to_string(i));
  for (int second = 0; second < 600; ++second) {
    call(0, 20, 30);
    call(0, 20, 30);
    if (second % 30 == 0) {
      call(1, 20, 30);
      call(2, 20, 30);
    }
    pass_by(1s);
  }
  settle_all();
  std::map<std::uint32_t, Duration> longest;
  for (const CallResult& result : ends.results) {
    EXPECT_EQ(result.outcome, CallOutcome::Answered) << result.error;
    if (result.granted)
      longest[result.function] =
          std::max(longest[result.function], *result.granted - result.arrived);
  }
  EXPECT_LE(longest[1], kFunctions * 10s);
  EXPECT_LE(longest[2], kFunctions * 10s);
}

TEST_F(Fairness, LongPrompts_AreServedBesideAStreamOfShortOnes) {
  WorldModel model = exact();
  model.function.scale.max = 1;
  make(model);
  const std::uint32_t function = world->deploy("f");
  answer(function);
  for (int second = 0; second < 300; ++second) {
    call(function, 10, 20);
    call(function, 10, 20);
    if (second % 60 == 30) call(function, 1500, 10);
    pass_by(1s);
  }
  settle_all();
  for (const CallResult& result : ends.results) {
    EXPECT_EQ(result.outcome, CallOutcome::Answered);
    if (result.prompt_tokens == 1500) { EXPECT_LE(*result.first_token - result.arrived, 60s); }
  }
}

// Of each moment: what came is what ended, was refused with a reason, or is still there.
class Ledger final : public Observer {
 public:
  void turned(const Turn& turn) override {
    if (const auto* call = std::get_if<control::CallArrived>(&turn.event))
      arrived += call->retry_of ? 0 : 1;
    if (const auto* gone = std::get_if<control::ProcessGone>(&turn.event))
      if (gone->ending != control::Ending::Asked) killed_untold += is_told(turn, *gone) ? 0 : 1;
    for (const control::Effect& effect : turn.effects.list)
      if (const auto* refusal = std::get_if<control::RefuseCall>(&effect)) {
        ++reasons[refusal->error.code];
        EXPECT_FALSE(refusal->error.message.empty());
        const bool again = domain::error_kind(refusal->error.code).retry;
        EXPECT_TRUE(refusal->retry_after_s >= (again ? 1 : 0) && refusal->retry_after_s <= 60)
            << refusal->error.code << " " << refusal->retry_after_s;
      }
  }
  void call_ended(const CallResult& result) override {
    result.outcome == CallOutcome::Refused ? ++refused : ++ended;
    EXPECT_EQ(result.error.empty(), result.outcome != CallOutcome::Refused);
  }
  std::uint64_t arrived = 0, ended = 0, refused = 0, killed_untold = 0;
  std::map<std::string, std::uint64_t> reasons;

 private:
  static bool is_told(const Turn& turn, const control::ProcessGone& gone) {
    const auto names_it = [&gone](const control::Effect& effect) {
      const auto* decision = std::get_if<control::Decision>(&effect);
      return decision != nullptr && decision->reason.find(gone.cause) != std::string::npos;
    };
    return std::any_of(turn.effects.list.begin(), turn.effects.list.end(), names_it);
  }
};

TEST_F(Fairness, EverythingThatCame_IsCountedAtAllTimesAndRefusedWithAReason) {
  WorldModel model;
  model.function.limits.queue = 8;
  model.function.limits.queue_timeout = 3s;
  model.function.scale.max = 1;
  make(model, {.seed = 5, .leave_chance = 0.1, .patience = 2s});
  Ledger ledger;
  world->watch(ledger);
  const std::uint32_t function = world->deploy("f");
  std::uint64_t crashes = 0;
  for (int i = 0; i < 3000; ++i) {
    call(function, 30, 30);
    pass_by(i % 500 < 250 ? 50ms : 600ms);
    EXPECT_EQ(ledger.arrived, ledger.ended + ledger.refused + world->calls_open());
    if (i % 100 == 99)
      for (const domain::ProcessId id : world->processes(World::Kind::Replica))
        crashes += world->crash(id, World::Death::Itself, "crashed in a test") ? 1 : 0;
  }
  settle_all();
  EXPECT_EQ(ledger.arrived, ledger.ended + ledger.refused);
  EXPECT_EQ(world->calls_open(), 0u);
  EXPECT_GT(crashes, 10u);
  EXPECT_EQ(ledger.killed_untold, 0u);
  std::uint64_t with_reason = 0;
  for (const auto& [code, count] : ledger.reasons) with_reason += count;
  EXPECT_GE(with_reason, ledger.refused);  // a caller may have left in the same moment
  EXPECT_GT(ledger.refused, 100u);
}

}  // namespace
}  // namespace glowplug::simulate
