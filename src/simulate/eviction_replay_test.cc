// What the order of eviction is worth where so many functions fit and others want in: how often a
// call finds its function gone, beside the least recently used going first, and beside the best
// that is possible, for which one would have to know all calls to come.
#include <cstdio>
#include <limits>
#include <unordered_map>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "policy/evictor.h"
#include "simulate/generator.h"
#include "simulate/trace.h"

namespace glowplug::simulate {
namespace {

using Calls = std::vector<std::uint32_t>;  // whose each is
using Resident = std::unordered_map<std::uint32_t, std::uint64_t>;

Calls calls_of(RequestSource& source, std::size_t most) {
  Calls calls;
  while (calls.size() < most) {
    const auto next = source.next();
    if (!next || !*next) break;
    calls.push_back((*next)->function);
  }
  return calls;
}

// `gone(resident, i)` names who goes for call i; `used(function, i)` hears of every call.
template <typename Gone, typename Used>
std::size_t misses(const Calls& calls, std::size_t room, const Gone& gone, const Used& used) {
  Resident resident;  // by when they were last used
  std::size_t missed = 0;
  for (std::size_t i = 0; i < calls.size(); ++i) {
    if (!resident.contains(calls[i])) {
      ++missed;
      if (resident.size() == room) resident.erase(gone(resident, i));
    }
    resident[calls[i]] = i;
    used(calls[i], i);
  }
  return missed;
}

std::size_t misses_of_ours(const Calls& calls, std::size_t room) {
  std::unordered_map<std::uint32_t, policy::Visits> visits;
  std::uint64_t now = 0;
  std::uint32_t last = std::numeric_limits<std::uint32_t>::max();
  return misses(
      calls, room,
      [&](const Resident& resident, std::size_t) {
        std::vector<policy::Kept> idle;
        for (const auto& [function, used] : resident)
          idle.push_back({.process = {function},
                          .bytes = 1,
                          .saves = std::chrono::seconds(1),
                          .log2_likely = policy::log2_likely(visits[function], now),
                          .last_used = Time(std::chrono::nanoseconds(used))});
        return static_cast<std::uint32_t>(policy::choose_evictions(idle, 1)->front().process.value);
      },
      [&](std::uint32_t function, std::size_t) {
        if (function != std::exchange(last, function)) policy::note_visit(visits[function], ++now);
      });
}

std::size_t misses_of_lru(const Calls& calls, std::size_t room) {
  return misses(
      calls, room,
      [](const Resident& resident, std::size_t) {
        return std::min_element(resident.begin(), resident.end(),
                                [](const auto& a, const auto& b) { return a.second < b.second; })
            ->first;
      },
      [](std::uint32_t, std::size_t) {});
}

// Belady's: whoever is called again last, or never.
std::size_t misses_at_best(const Calls& calls, std::size_t room) {
  std::vector<std::size_t> again(calls.size(), calls.size());
  std::unordered_map<std::uint32_t, std::size_t> next;
  for (std::size_t i = calls.size(); i-- > 0; next[calls[i]] = i)
    if (const auto found = next.find(calls[i]); found != next.end()) again[i] = found->second;
  return misses(
      calls, room,
      [&again](const Resident& resident, std::size_t) {
        return std::max_element(
                   resident.begin(), resident.end(),
                   [&](const auto& a, const auto& b) { return again[a.second] < again[b.second]; })
            ->first;
      },
      [](std::uint32_t, std::size_t) {});
}

// The share of what the best that is possible saves beside LRU.
double closed(const char* name, const Calls& calls, std::size_t room) {
  const auto share = [&calls](std::size_t missed) {
    return 100 * static_cast<double>(missed) / static_cast<double>(calls.size());
  };
  const double lru = share(misses_of_lru(calls, room));
  const double ours = share(misses_of_ours(calls, room));
  const double best = share(misses_at_best(calls, room));
  const double part = (lru - ours) / (lru - best);
  std::printf(
      "%-28s %6zu calls, room for %2zu: LRU %5.1f %%, ours %5.1f %%, best %5.1f %%: %3.0f %% of "
      "the gap\n",
      name, calls.size(), room, lru, ours, best, 100 * part);
  return part;
}

TEST(EvictionReplay, GeneratedBursts) {
  Traffic traffic{.kind = TrafficKind::Bursts, .functions = 100, .zipf = 1};
  traffic.requests_per_s = 2;
  traffic.length = std::chrono::hours(4);
  const auto source = make_generator(traffic);
  ASSERT_TRUE(source);
  const Calls calls = calls_of(**source, 25'000);
  ASSERT_EQ(calls.size(), 25'000u);
  EXPECT_GT(closed("bursts, Zipf over 100", calls, 4), 0.6);
  EXPECT_GT(closed("bursts, Zipf over 100", calls, 8), 0.5);
  EXPECT_GT(closed("bursts, Zipf over 100", calls, 16), 0.4);
}

// Clients as functions. With room for nearly all that call there is little left to close.
TEST(EvictionReplay, PublicTraces) {
  const std::string folder = GLOWPLUG_TRACES;
  if (folder.empty()) GTEST_SKIP() << "GLOWPLUG_TRACES names no folder";
  const struct {
    const char* pool;
    double keep;
    double closed_4, closed_8;
  } pools[] = {{"language_m-small", 0.0005, 0.6, 0.5},
               {"language_m-mid", 0.0002, 0.45, 0.4},
               {"language_m-large", 0.001, 0.5, 0.45},
               {"reason_deepseek-r1", 0.005, 0.35, 0.1}};
  for (const auto& [pool, keep, closed_4, closed_8] : pools) {
    const auto source = open_trace(fmt::format("{}/servegen_{}_client_rates.csv.gz", folder, pool),
                                   {.length = std::chrono::hours(48), .keep = keep});
    ASSERT_TRUE(source);
    const Calls calls = calls_of(**source, 15'000);
    ASSERT_GT(calls.size(), 5'000u);
    EXPECT_GT(closed(pool, calls, 4), closed_4);
    EXPECT_GT(closed(pool, calls, 8), closed_8);
    EXPECT_GT(closed(pool, calls, 16), -0.1);
  }
}

}  // namespace
}  // namespace glowplug::simulate
