#include "simulate/single_run.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/decision_log.h"
#include "simulate/generator.h"
#include "simulate/report.h"
#include "simulate/svg_plot.h"
#include "simulate/trace.h"

namespace glowplug::simulate {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

const Traffic kTraffic{.kind = TrafficKind::Bursts,
                       .seed = 4,
                       .functions = 5,
                       .tenants = 2,
                       .requests_per_s = 0.5,
                       .length = 1h};

RunOutcome run(const RunSetup& setup, const Traffic& traffic = kTraffic) {
  const auto source = make_generator(traffic);
  EXPECT_TRUE(source.ok());
  const auto outcome = run_once(setup, **source);
  EXPECT_TRUE(outcome.ok());
  EXPECT_FALSE(outcome->violation) << outcome->violation->what;
  return *outcome;
}

TEST(SingleRun, Figures_AddUp) {
  const RunOutcome outcome = run({});
  const Figures& figures = outcome.figures;
  EXPECT_GT(figures.calls, 1000u);
  EXPECT_EQ(figures.answered + figures.refusals() + figures.lost(), figures.calls);
  EXPECT_GT(figures.cold, 0u);
  std::uint64_t by_tier = 0, in_spans = 0;
  for (const std::uint64_t count : figures.cold_from) by_tier += count;
  for (const Series::Span& span : figures.series.spans) in_spans += span.calls;
  EXPECT_EQ(by_tier, figures.cold);
  EXPECT_EQ(in_spans, figures.calls);
  EXPECT_LE(figures.series.spans.size(), 512u);
  EXPECT_GT(figures.reserved_byte_s, 0);
  EXPECT_LE(figures.reserved_byte_s,
            static_cast<double>(figures.reserved_most) * to_seconds(figures.length));
  EXPECT_EQ(figures.wait.count(), figures.answered + figures.broken + figures.timed_out);
}

TEST(SingleRun, WhoKnowsTheCalls_StartsNoMoreAndHoldsLessThanWhoStaysAsLong) {
  const auto variant = [](std::string_view name) {
    const auto all = plan_variants();
    const auto found = std::find_if(all.begin(), all.end(),
                                    [name](const PlanVariant& one) { return one.name == name; });
    Traffic one_tenant = kTraffic;  // whose replicas all callers share
    one_tenant.tenants = 1;
    one_tenant.requests_per_s = 0.02;
    one_tenant.length = 20h;
    const RunOutcome outcome =
        run({.model = with(WorldModel{}, *found), .keep_alive = found->rule}, one_tenant);
    return outcome.figures;
  };
  const Figures fixed = variant("fixed-5m"), best = variant("oracle-5m");
  EXPECT_EQ(best.calls, fixed.calls);
  EXPECT_LE(best.cold, fixed.cold * 1.02);
  EXPECT_LT(best.reserved_byte_s, 0.9 * fixed.reserved_byte_s);
  EXPECT_GT(best.cold, 5u);
}

TEST(SingleRun, SameSeed_SameBytes) {
  const WorldModel world;
  std::string first, again, other;
  const auto into = [](std::string& text) {
    return [&text](std::string_view lines) { text += lines; };
  };
  const RunOutcome a = run({.faults = 20, .log = into(first)});
  const RunOutcome b = run({.faults = 20, .log = into(again)});
  EXPECT_EQ(report_json(a.figures, world), report_json(b.figures, world));
  EXPECT_EQ(report_plot("a", a.figures), report_plot("a", b.figures));
  EXPECT_EQ(first, again);
  EXPECT_GT(a.faults, 0);
  run({.seed = 2, .faults = 20, .log = into(other)});
  EXPECT_NE(first, other);
}

TEST(SingleRun, Log_IsDecidedOnceMoreAsItWas) {
  std::string text;
  run({.faults = 40, .log = [&text](std::string_view lines) { text += lines; }});
  control::Replay replay;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const auto same = replay.take(line);
    ASSERT_TRUE(same.ok()) << same.error().message;
    ASSERT_TRUE(*same) << replay.difference()->line;
  }
  EXPECT_GT(replay.turns(), 3000u);
}

TEST(SingleRun, LongerKeepAlive_IsFewerColdStartsAndMoreMemory) {
  const std::vector<PlanVariant> variants = plan_variants();
  const auto figures = [&variants](const std::string& name) {
    for (const PlanVariant& variant : variants)
      if (variant.name == name) return run({.model = with({}, variant)}).figures;
    ADD_FAILURE() << name;
    return Figures{};
  };
  const Figures minute = figures("fixed-1m"), ten = figures("fixed-10m");
  EXPECT_LT(ten.cold, minute.cold);
  EXPECT_LT(ten.waited_for_starts, minute.waited_for_starts);
  EXPECT_GT(ten.reserved_byte_s, minute.reserved_byte_s);
  EXPECT_LT(figures("keep-1m").waited_for_starts, minute.waited_for_starts / 5);
}

TEST(SingleRun, FunctionToldApart_IsThereFromTheBeginning_BeforeAnyCallOfIt) {
  WorldModel world;
  world.models.front().name = "small";
  domain::Manifest held = world.function;
  held.model = "small";
  held.scale.min = 1;
  world.functions = {{"late", held}};
  const std::string path = ::testing::TempDir() + "late-" + std::to_string(::getpid()) + ".csv";
  const auto played = [&](const std::string& rows) {
    std::ofstream(path) << "time_s,function,prompt_tokens,output_tokens\n" << rows;
    const auto source = open_trace(path, {});
    EXPECT_TRUE(source.ok());
    auto outcome = run_once({.model = world}, **source);
    std::remove(path.c_str());
    return outcome;
  };
  const auto outcome = played("0,early,20,5\n3600,late,20,5\n");
  ASSERT_TRUE(outcome.ok()) << outcome.error().message;
  EXPECT_EQ(outcome->figures.cold, 1u);  // of the other one
  EXPECT_EQ(played("0,early,20,5\n1,other,20,5\n").error().message,
            "functions.late: no call is of it; calls are of early, other. Mend the name, or leave "
            "it out");
}

TEST(SingleRun, FunctionToldApart_ThatNobodyMakesCallsOf_IsToldBeforeTheRun) {
  WorldModel world;
  world.functions = {{"chta", world.function}};
  const auto source = make_generator(kTraffic);
  std::uint64_t turns = 0;
  const auto outcome =
      run_once({.model = world, .log = [&turns](std::string_view) { ++turns; }}, **source);
  ASSERT_FALSE(outcome.ok());
  EXPECT_THAT(outcome.error().message,
              HasSubstr("functions.chta: no call is of it; calls are of "));
  EXPECT_LE(turns, 1u);  // the log's head
}

TEST(SingleRun, Bill_IsTheShareHeldAndTheFees) {
  WorldModel world;
  world.machine.memory_bytes = 1'000'000'000;
  world.prices = {{"CPU", {.per_hour = {3'600'000}, .per_request = {10}}}};
  Figures figures;
  figures.answered = 7;
  figures.machine_byte_s = 500'000'000.0 * 20;  // half of it for 20 s: 10 device-seconds
  const auto bill = bill_of(figures, world);
  ASSERT_TRUE(bill.ok());
  EXPECT_EQ(bill->held.micros, 10'000);
  EXPECT_EQ(bill->fees.micros, 70);
  EXPECT_EQ(bill->total.micros, 10'070);
}

TEST(Report, Rows_StayWithinATerminalsLine_WhateverTheyHold) {
  WorldModel world;
  world.machine.memory_bytes = 900'000'000'000'000;
  world.machine.device = std::string(32, 'd');
  world.prices = {{world.machine.device, {.per_hour = {900'000'500}, .per_request = {3}}}};
  Figures figures;
  figures.length = 200h;
  figures.calls = figures.answered = figures.broken = figures.timed_out = 123'456'789;
  for (const char* code : {"function_failed", "server_is_overloaded", "model_not_found", "timeout"})
    figures.refused[code] = 123'456'789;
  figures.cold_from.fill(1'234'567);
  figures.executed = figures.forked = figures.handed_over = figures.woken = 12'345'678;
  figures.machine_byte_s = figures.reserved_byte_s = 1e18;
  figures.reserved_most = world.machine.memory_bytes;
  figures.busy_core_s = 1e8;
  figures.devices[std::string(32, 't')] = {10'000, 10'000, 1e8, 123'456'789};
  figures.turns.emplace().add(4'200ns);
  const auto columns = [](const std::string& text) {
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
      return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
    }));
  };
  std::size_t what = 0, value = 0, more = 0;
  for (const ReportRow& row : report_rows(figures, world)) {
    what = std::max(what, columns(row.what));
    value = std::max(value, columns(row.value));
    more = std::max(more, columns(row.more));
    if (row.what == "a turn of the brain") { EXPECT_THAT(row.value, HasSubstr(" µs")); }
  }
  EXPECT_LE(what + 2 + value + 2 + more, 80u) << what << " " << value << " " << more;
}

TEST(Report, PlanPlot_ShowsRefusalsWhereThereAreAny) {
  Figures figures;
  figures.series.spans.resize(2);
  EXPECT_EQ(plan_plot({{"a", figures}}).find("Calls refused"), std::string::npos);
  figures.refused["server_is_overloaded"] = 1;
  EXPECT_THAT(plan_plot({{"a", figures}}), HasSubstr("Calls refused"));
}

TEST(Report, Plot_IsOneSvgWithItsPanels) {
  const std::string svg = report_plot("a <trace> & more", run({}).figures);
  EXPECT_TRUE(svg.starts_with("<svg "));
  EXPECT_TRUE(svg.ends_with("</svg>\n"));
  EXPECT_THAT(svg, HasSubstr("a &lt;trace&gt; &amp; more"));
  EXPECT_THAT(svg, HasSubstr("Memory reserved (GB)"));
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_EQ(svg.find("inf"), std::string::npos);
}

TEST(SvgPlot, Ticks_AreRoundNumbers) {
  EXPECT_EQ(ticks(10, 5), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  EXPECT_EQ(ticks(0, 5), std::vector<double>{0});
  EXPECT_EQ(ticks(70, 5).size(), 4u);
}

TEST(SvgPlot, NoPoints_DrawAnEmptyPanel) {
  const std::string svg =
      svg_of("nothing", {{.title = "t", .x_axis = Axis::Logarithmic, .lines = {}},
                         {.title = "u", .lines = {{"l", {}}}}});
  EXPECT_EQ(svg.find("nan"), std::string::npos);
}

}  // namespace
}  // namespace glowplug::simulate
