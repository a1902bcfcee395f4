#include "gateway/metrics.h"

#include <chrono>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace glowplug::gateway {
namespace {

using namespace std::chrono_literals;
using domain::Phase;
using domain::Tier;
using testing::HasSubstr;
using testing::Not;

class MetricsTest : public testing::Test {
 protected:
  MetricsTest() {
    clock_.advance(1000s);
    control::FunctionView view;
    view.manifest.name = "f";
    functions_.push_back(view);
  }
  void grant_warm(int times = 1) {
    for (int i = 0; i < times; ++i) metrics_.observe_grant("f", {});
  }
  void grant_cold(Tier tier, Duration queue, Duration load, Duration fork) {
    control::Grant grant;
    grant.cold = true;
    grant.tier = tier;
    grant.waited[Phase::Queue] = queue;
    grant.waited[Phase::Load] = load;
    grant.waited[Phase::Fork] = fork;
    metrics_.observe_grant("f", grant);
  }
  std::string text(MetricsFormat format = MetricsFormat::PrometheusText) {
    return metrics_.render(functions_, 0, format);
  }

  ManualClock clock_;
  Metrics metrics_{clock_};
  std::vector<control::FunctionView> functions_;
};

TEST_F(MetricsTest, FunctionIsGone_SoAreItsSeries) {
  metrics_.count_request("f", 200);
  EXPECT_THAT(text(), HasSubstr("function=\"f\""));
  const auto removed = std::exchange(functions_, {});
  metrics_.count_request("f", 200);  // its last call ends after it
  EXPECT_THAT(text(), Not(HasSubstr("function=\"f\"")));
  functions_ = removed;
  EXPECT_THAT(text(), Not(HasSubstr("code=\"200\"")));
}

TEST_F(MetricsTest, WarmGrant_IsNoColdStart) {
  grant_warm();
  EXPECT_THAT(text(), Not(HasSubstr("glowplug_cold_start_seconds_count")));
  EXPECT_THAT(text(), Not(HasSubstr("glowplug_start_phase_seconds_count")));
}

TEST_F(MetricsTest, ColdGrants_AreKeptApartByTierAndPhase) {
  grant_cold(Tier::Template, 1ms, 0ms, 11ms);
  grant_cold(Tier::Disk, 0ms, 2s, 20ms);
  const std::string shown = text();
  const std::string forked = "glowplug_cold_start_seconds_bucket{function=\"f\",tier=\"template\",";
  EXPECT_THAT(shown, HasSubstr(forked + "le=\"0.01\"} 0\n"));
  EXPECT_THAT(shown, HasSubstr(forked + "le=\"0.025\"} 1\n"));
  EXPECT_THAT(shown, HasSubstr(forked + "le=\"+Inf\"} 1\n"));
  EXPECT_THAT(shown, HasSubstr("_seconds_sum{function=\"f\",tier=\"disk\"} 2.02\n"));
  EXPECT_THAT(shown,
              HasSubstr("glowplug_start_phase_seconds_sum{phase=\"load\",tier=\"disk\"} 2\n"));
  EXPECT_THAT(
      shown,
      HasSubstr("glowplug_start_phase_seconds_sum{phase=\"fork\",tier=\"template\"} 0.011\n"));
  // A phase that a start had none of is counted, so that the means of the phases add up.
  EXPECT_THAT(shown,
              HasSubstr("glowplug_start_phase_seconds_count{phase=\"fetch\",tier=\"disk\"} 1\n"));
}

TEST_F(MetricsTest, Restore_IsAPhaseOfItsTier) {
  metrics_.observe_restore(Tier::Spare, 30ms);
  EXPECT_THAT(text(), HasSubstr("_phase_seconds_sum{phase=\"restore\",tier=\"spare\"} 0.03\n"));
}

TEST_F(MetricsTest, ColdStartRate_IsAbsentBelowTenCalls) {
  grant_cold(Tier::Disk, 0ms, 1s, 0ms);
  grant_warm(8);
  EXPECT_THAT(text(), Not(HasSubstr("glowplug_cold_start_rate{")));
  grant_warm();
  EXPECT_THAT(text(), HasSubstr("glowplug_cold_start_rate{function=\"f\"} 0.1\n"));
}

TEST_F(MetricsTest, ColdStartRate_ForgetsAfterAMinute) {
  grant_cold(Tier::Disk, 0ms, 1s, 0ms);
  clock_.advance(30s);
  grant_warm(19);
  EXPECT_THAT(text(), HasSubstr("glowplug_cold_start_rate{function=\"f\"} 0.05\n"));
  clock_.advance(30s);  // the cold one is a minute old, the warm ones are not
  EXPECT_THAT(text(), HasSubstr("glowplug_cold_start_rate{function=\"f\"} 0\n"));
  clock_.advance(30s);
  EXPECT_THAT(text(), Not(HasSubstr("glowplug_cold_start_rate{")));
  grant_warm(10);  // the slots of a minute ago start anew
  EXPECT_THAT(text(), HasSubstr("glowplug_cold_start_rate{function=\"f\"} 0\n"));
}

TEST_F(MetricsTest, DeletedFunction_HasNoColdStartRate) {
  grant_warm(10);
  functions_.clear();
  EXPECT_THAT(text(), Not(HasSubstr("glowplug_cold_start_rate{")));
}

TEST_F(MetricsTest, SharedTemplate_StandsAtEachFunctionAndCountsOnce) {
  functions_.push_back(functions_[0]);
  functions_[1].manifest.name = "g";
  functions_[1].state = domain::State::Failed;
  for (control::FunctionView& view : functions_)
    view.template_view = control::TemplateView{
        .process = domain::ProcessId{7}, .state = domain::State::Ready, .memory_bytes = 1234};
  const std::string shown = text();
  EXPECT_THAT(shown, HasSubstr("glowplug_template_memory_bytes{function=\"f\"} 1234\n"));
  EXPECT_THAT(shown, HasSubstr("glowplug_template_memory_bytes{function=\"g\"} 1234\n"));
  EXPECT_THAT(shown, HasSubstr("glowplug_templates{state=\"ready\"} 1\n"));
  EXPECT_THAT(shown, HasSubstr("glowplug_templates{state=\"loading\"} 0\n"));
  EXPECT_THAT(shown, HasSubstr("glowplug_function_failed{function=\"f\"} 0\n"));
  EXPECT_THAT(shown, HasSubstr("glowplug_function_failed{function=\"g\"} 1\n"));
}

TEST_F(MetricsTest, Memory_IsHeldAndReservedOfEachKindAndTheSumCountsOnce) {
  functions_.push_back(functions_[0]);
  functions_[1].manifest.name = "g";
  functions_[0].replicas = {{.replica = {1}, .memory_bytes = 100},
                            {.replica = {2}, .memory_bytes = 50}};
  for (control::FunctionView& view : functions_)
    view.template_view = control::TemplateView{
        .process = {7}, .memory_bytes = 1000, .spares = {{.process = {8}, .memory_bytes = 30}}};
  const auto held = [](domain::ProcessId process) -> std::uint64_t {
    return process.value == 2 ? 0 : process.value;  // 2 was not measured yet
  };
  const std::string shown =
      metrics_.render(functions_, 0, MetricsFormat::PrometheusText, std::nullopt, held);
  EXPECT_THAT(shown, HasSubstr("glowplug_memory_bytes{function=\"f\"} 51\n"));
  EXPECT_THAT(shown, HasSubstr("glowplug_memory_reserved_bytes{function=\"f\"} 150\n"));
  EXPECT_THAT(shown, HasSubstr("glowplug_memory_bytes{function=\"g\"} 0\n"));
  for (const char* name : {"f", "g"}) {
    const std::string at = std::string("{function=\"") + name + "\"} ";
    EXPECT_THAT(shown, HasSubstr("glowplug_template_memory_bytes" + at + "7\n"));
    EXPECT_THAT(shown, HasSubstr("glowplug_template_memory_reserved_bytes" + at + "1000\n"));
    EXPECT_THAT(shown, HasSubstr("glowplug_spare_memory_bytes" + at + "8\n"));
    EXPECT_THAT(shown, HasSubstr("glowplug_spare_memory_reserved_bytes" + at + "30\n"));
  }
  EXPECT_THAT(shown, HasSubstr("glowplug_process_memory_bytes{kind=\"replica\"} 51\n"));
  EXPECT_THAT(shown, HasSubstr("glowplug_process_memory_bytes{kind=\"template\"} 7\n"));
  EXPECT_THAT(shown, HasSubstr("glowplug_process_memory_bytes{kind=\"spare\"} 8\n"));
  EXPECT_THAT(shown, HasSubstr("glowplug_process_memory_reserved_bytes{kind=\"template\"} 1000\n"));
}

TEST_F(MetricsTest, Formats_DifferInCountersNamesUnitsAndTheEnd) {
  const std::string prometheus = text(), open = text(MetricsFormat::OpenMetrics);
  EXPECT_THAT(prometheus, HasSubstr("# TYPE glowplug_cold_starts_total counter\n"));
  EXPECT_THAT(prometheus, Not(HasSubstr("# UNIT")));
  EXPECT_THAT(open, HasSubstr("# TYPE glowplug_cold_starts counter\n"));
  EXPECT_THAT(open, HasSubstr("# UNIT glowplug_cold_start_seconds seconds\n"));
  EXPECT_THAT(open, HasSubstr("# UNIT glowplug_template_memory_bytes bytes\n"));
  EXPECT_TRUE(open.ends_with("# EOF\n"));
}

}  // namespace
}  // namespace glowplug::gateway
