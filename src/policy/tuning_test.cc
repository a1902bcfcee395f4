#include "policy/tuning.h"

#include <functional>

#include <gtest/gtest.h>

#include "domain/limits.h"

namespace glowplug::policy {
namespace {

using domain::EngineSettings;
using domain::Figures;
using domain::KvType;
using domain::Repack;
using domain::Trial;

Figures rates(double prefill, double decode, std::uint64_t bytes = 100) {
  return {.prefill = {prefill, prefill, prefill},
          .decode = {decode, decode, decode},
          .rounds = 3,
          .private_bytes = bytes,
          .batch = 64,
          .repacked = true};
}

Trial trial(int threads, Figures figures, domain::Tuning tuning = {}, std::string type = {}) {
  return {.settings = {threads, tuning}, .file_type = std::move(type), .figures = figures};
}

using Machine = std::function<Figures(const Trial&)>;

std::vector<Trial> run(const TuneScope& scope, const Machine& machine) {
  std::vector<Trial> done;
  while (auto next = next_trial(scope, done)) {
    EXPECT_LE(static_cast<int>(done.size()), trials_expected(scope, done));
    next->figures = machine(*next);
    done.push_back(std::move(*next));
  }
  EXPECT_EQ(static_cast<int>(done.size()), trials_expected(scope, done));
  return done;
}

EngineSettings chosen(const TuneScope& scope, const std::vector<Trial>& done) {
  return choice_of(done.at(best_trial(scope, done).value()), scope.cores);
}

// A machine on which these factors decide.
Figures machine_of(const Trial& at, double per_thread, double unpacked, double batch128) {
  const domain::Tuning& tuning = at.settings.tuning;
  double rate = 100 + per_thread * (at.settings.threads - 1);
  if (tuning.repack == Repack::Off) rate *= unpacked;
  if (tuning.batch == 128) rate *= batch128;
  Figures figures = rates(rate * 2, rate);
  figures.repacked = tuning.repack != Repack::Off;
  return figures;
}

TEST(Tuning, ChoiceFollowsTheMachine) {
  struct Row {
    const char* what;
    double per_thread, unpacked, batch128;
    EngineSettings choice;
  };
  const std::vector<Row> rows{
      {"more threads help: auto", 80, 0.9, 1, {0, {}}},
      {"more threads hurt", -40, 0.9, 1, {1, {}}},
      {"repacking hurts", 80, 1.5, 1, {0, {.repack = Repack::Off}}},
      {"noise changes nothing", 80, 1.03, 1.04, {0, {}}},
      {"a longer step helps", 80, 0.9, 1.2, {0, {.batch = 128}}},
      {"all of it", -40, 1.5, 1.2, {1, {.batch = 128, .repack = Repack::Off}}},
  };
  const domain::Manifest manifest;
  for (const Row& row : rows) {
    const TuneScope scope{.manifest = manifest, .cores = 2, .offers = {}};
    const auto done = run(scope, [&row](const Trial& at) {
      return machine_of(at, row.per_thread, row.unpacked, row.batch128);
    });
    EXPECT_EQ(chosen(scope, done), row.choice) << row.what;
  }
}

TEST(Tuning, NearlyAsFastWithLessMemory_IsChosen) {
  const domain::Manifest manifest;
  const TuneScope scope{.manifest = manifest, .cores = 2, .offers = {}};
  const domain::Tuning off{.repack = Repack::Off};
  EXPECT_EQ(best_trial(scope, std::vector{trial(2, rates(200, 100, 300)),
                                          trial(2, rates(196, 99, 100), off)}),
            1u);
  EXPECT_EQ(best_trial(scope, std::vector{trial(2, rates(200, 100, 300)),
                                          trial(2, rates(150, 80, 100), off)}),
            0u);
}

TEST(Tuning, OtherCacheType_IsMeasuredAndNeverChosen) {
  domain::Manifest manifest;
  for (const KvType own : {KvType::Auto, KvType::F16, KvType::Q8_0}) {
    manifest.tuning.kv = own;
    const TuneScope scope{.manifest = manifest, .cores = 2, .offers = {}};
    int others = 0;
    const auto done = run(scope, [&](const Trial& at) {
      const bool other = at.settings.tuning.kv != own;
      others += other ? 1 : 0;
      return rates(other ? 9000 : 200, other ? 9000 : 100);
    });
    EXPECT_EQ(others, 1);
    EXPECT_EQ(chosen(scope, done).tuning.kv, own);
  }
}

TEST(Tuning, EmbeddingsReadOnly_AndHaveNoStepOrCacheToChoose) {
  domain::Manifest manifest;
  manifest.task = domain::Task::Embed;
  const TuneScope scope{.manifest = manifest, .cores = 2, .offers = {}};
  const auto done = run(scope, [](const Trial&) { return rates(200, 0); });
  EXPECT_EQ(done.size(), 3u);
  EXPECT_DOUBLE_EQ(call_seconds(manifest, rates(256, 0)), 2);
}

TEST(Tuning, CallFitsTheFunctionsContextAndLimits) {
  domain::Manifest manifest;
  EXPECT_DOUBLE_EQ(call_seconds(manifest, rates(512, 128)), 2);
  manifest.limits.max_tokens = 1;
  EXPECT_DOUBLE_EQ(call_seconds(manifest, rates(512, 2)), 1.5);
  manifest.context = 16;
  EXPECT_DOUBLE_EQ(call_seconds(manifest, rates(15, 1)), 2);
}

TEST(Tuning, ManyCores_AreTriedInSteps) {
  domain::Manifest manifest;
  const TuneScope scope{.manifest = manifest, .cores = 64, .offers = {}};
  const auto done = run(scope, [](const Trial&) { return rates(200, 100); });
  EXPECT_LE(done.size(), 20u);
  EXPECT_EQ(done.front().settings.threads, 64);
}

TEST(Tuning, SettingsThatFail_AreLeftOut) {
  const domain::Manifest manifest;
  const TuneScope scope{.manifest = manifest, .cores = 2, .offers = {}};
  std::vector<Trial> done;
  while (auto next = next_trial(scope, done)) {
    if (next->settings.threads == 2)
      next->error = "killed";
    else
      next->figures = rates(200, 100);
    done.push_back(std::move(*next));
  }
  EXPECT_EQ(chosen(scope, done).threads, 1);
  for (Trial& one : done) one.figures.reset();
  EXPECT_FALSE(best_trial(scope, done));
  EXPECT_FALSE(next_trial(scope, std::vector<Trial>(done.begin(), done.begin() + 2)));
}

TEST(Tuning, FileOfAnotherType_IsNamedFromHalfAsFastAgain) {
  const domain::Manifest manifest;
  const TuneScope scope{
      .manifest = manifest, .cores = 2, .offers = {{"q4_0", "hf:a/b:c.gguf"}, {"q8_0", "hf:d"}}};
  const auto with = [&](double q4, double q8) {
    return faster_file(
        scope, run(scope, [q4, q8](const Trial& at) {
          const double times = at.file_type == "q4_0" ? q4 : at.file_type == "q8_0" ? q8 : 1;
          return rates(200 * times, 100 * times);
        }));
  };
  EXPECT_FALSE(with(1.49, 0.5));
  ASSERT_TRUE(with(1.6, 0.5));
  EXPECT_EQ(with(1.6, 0.5)->source, "hf:a/b:c.gguf");
  EXPECT_EQ(with(1.6, 2)->file_type, "q8_0");
}

TEST(Tuning, ChoiceFillsWhatIsAuto_AndAppliedSaysItAll) {
  domain::Manifest manifest;
  manifest.resources.threads = 3;
  manifest.tuning.kv = KvType::F16;
  const EngineSettings choice{1, {.batch = 128, .repack = Repack::Off, .kv = KvType::F16}};
  const domain::Manifest filled = with_choice(manifest, choice);
  EXPECT_EQ(filled.resources.threads, 3);
  EXPECT_EQ(filled.tuning, choice.tuning);
  EXPECT_EQ(applied(manifest, choice).resources.threads, 1);
  EXPECT_TRUE(tunes_alike(manifest, manifest));
  EXPECT_FALSE(tunes_alike(manifest, filled));
}

}  // namespace
}  // namespace glowplug::policy
