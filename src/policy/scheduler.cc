#include "policy/scheduler.h"

#include <algorithm>
#include <numeric>
#include <tuple>

#include "base/units.h"
#include "domain/limits.h"

namespace glowplug::policy {
namespace {

constexpr int kServesForEachStart = 4;
constexpr Duration kStartCostMin = std::chrono::milliseconds(10);  // a fork's
constexpr int kPausesRemembered = 4;

// The lower, the sooner.
int rank_of(domain::Priority priority) {
  switch (priority) {
    case domain::Priority::High: return 0;
    case domain::Priority::Normal: return 1;
    case domain::Priority::Batch: return 2;
  }
  return 1;
}

double work_for_its_cost(const Contender& one) {
  return one.waiting / to_seconds(std::max(one.start_cost, kStartCostMin));
}

bool starves(const Contender& one, Time now) { return now - one.since >= kStarving; }

Time end_of_turn(const Resident& one, const Contender& contender) {
  return one.ready + residency(one.start_cost + contender.start_cost);
}

// Until when its next call is about to come; nothing where it has one, or none that is worth it.
std::optional<Time> expected_until(const Resident& one, Duration back_in) {
  if (!one.idle_since || !one.pauses.mean) return std::nullopt;
  const Duration wait = std::max(2 * *one.pauses.mean, kStartCostMin);
  return wait <= back_in ? std::optional(*one.idle_since + wait) : std::nullopt;
}

}  // namespace

std::vector<std::size_t> start_order(std::span<const Contender> contenders, Time now) {
  std::vector<std::size_t> order(contenders.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto sooner = [&contenders, now](std::size_t left, std::size_t right) {
    const Contender &a = contenders[left], &b = contenders[right];
    const bool a_starves = starves(a, now), b_starves = starves(b, now);
    if (a_starves != b_starves) return a_starves;
    if (!a_starves) {
      const auto class_and_work = [](const Contender& one) {
        return std::tuple(rank_of(one.priority), -work_for_its_cost(one));
      };
      if (class_and_work(a) != class_and_work(b)) return class_and_work(a) < class_and_work(b);
    }
    return std::tuple(a.since, left) < std::tuple(b.since, right);
  };
  std::sort(order.begin(), order.end(), sooner);
  return order;
}

Duration residency(Duration start_cost) {
  return std::clamp(kServesForEachStart * start_cost, domain::kTurn, kStarving);
}

std::optional<domain::ProcessId> choose_to_give_way(std::span<const Resident> residents,
                                                    const Contender& contender, Time now) {
  const Duration waited = now - contender.since;
  if (waited < domain::kTurn) return std::nullopt;
  const Resident* chosen = nullptr;
  const auto sooner = [](const Resident& a, const Resident& b) {
    return std::tuple(-rank_of(a.priority), a.last_granted, a.replica) <
           std::tuple(-rank_of(b.priority), b.last_granted, b.replica);
  };
  for (const Resident& one : residents) {
    if (now < end_of_turn(one, contender) && waited < kStarving) continue;
    if (chosen == nullptr || sooner(one, *chosen)) chosen = &one;
  }
  if (chosen == nullptr) return std::nullopt;
  return chosen->replica;
}

bool has_claim(Time since, Time now) { return now > since && (now - since) / kStarving % 2 == 1; }

Time next_claim_change(Time since, Time now) {
  const auto passed = std::max<std::int64_t>(0, (now - since) / kStarving);
  return since + (passed + 1) * kStarving;
}

void note_pause(Pauses& pauses, Duration pause) {
  const Duration counted = std::min(pause, kStarving);
  pauses.mean = pauses.mean ? *pauses.mean + (counted - *pauses.mean) / kPausesRemembered : counted;
}

bool keeps_its_turn(const Resident& resident, const Contender& contender, Duration back_in,
                    Time now) {
  const std::optional<Time> until = expected_until(resident, back_in);
  return until && now < *until && now < end_of_turn(resident, contender) &&
         !starves(contender, now) && rank_of(contender.priority) >= rank_of(resident.priority);
}

std::optional<Time> pause_end(const Resident& resident, const Contender& contender, Time now) {
  if (!keeps_its_turn(resident, contender, resident.start_cost, now)) return std::nullopt;
  return std::min({*expected_until(resident, resident.start_cost), end_of_turn(resident, contender),
                   contender.since + kStarving});
}

std::optional<Time> next_turn(std::span<const Resident> residents, const Contender& contender,
                              Time now) {
  if (residents.empty()) return std::nullopt;
  Time first = contender.since + kStarving;
  for (const Resident& one : residents) first = std::min(first, end_of_turn(one, contender));
  first = std::max(first, contender.since + domain::kTurn);
  return first > now ? std::optional(first) : std::nullopt;
}

}  // namespace glowplug::policy
