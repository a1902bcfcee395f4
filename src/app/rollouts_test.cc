// Checkpoints, splits and rollbacks over the real store, with a brain that only listens.
#include "app/rollouts.h"

#include <filesystem>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "domain/limits.h"
#include "storage/state_file.h"
#include "storage/test_root.h"

namespace glowplug::app {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class RolloutsTest : public testing::Test {
 protected:
  RolloutsTest() { reopen(); }
  ~RolloutsTest() override {
    rollouts_.reset();
    writer_.reset();
    fs::remove_all(dir_);
  }

  void reopen() {
    rollouts_.reset();
    writer_.reset();
    serving_.clear();
    writer_ = std::make_unique<storage::WriteLoop>(
        storage::WriteLoop::Parts{.file = storage::StateFile::open(dir_ + "/data").value(),
                                  .deliver = [](const auto&) {},
                                  .halted = {}});
    rollouts_ = std::make_unique<Rollouts>(
        Rollouts::Parts{.clock = clock_,
                        .writer = *writer_,
                        .users = users_,
                        .cores = 2,
                        .post = [this](control::Event event) { hear(event); },
                        .view = [this](const std::string&) { return view(); }});
    ASSERT_TRUE(rollouts_->restore());
  }
  // What the brain is told, as "3=100" and the digest it is pinned to.
  void hear(const control::Event& event) {
    ++told_;
    if (const auto* put = std::get_if<control::FunctionPut>(&event))
      serving_ = {{put->manifest, put->revision, 100}};
    if (const auto* traffic = std::get_if<control::TrafficSet>(&event)) serving_ = traffic->served;
    if (std::holds_alternative<control::FunctionDeleted>(event)) serving_.clear();
  }
  std::vector<std::string> told() const {
    std::vector<std::string> words;
    for (const auto& one : serving_)
      words.push_back(fmt::format("{}={} {}", one.revision, one.weight,
                                  one.manifest.model_sha256.substr(0, 2)));
    return words;
  }
  // As if what it was told of first serves, with a model whose digest begins with its revision.
  std::optional<control::FunctionView> view() const {
    if (serving_.empty()) return std::nullopt;
    control::FunctionView view{.manifest = serving_[0].manifest,
                               .revision = serving_[0].revision,
                               .state = state_,
                               .quarantined = quarantined_};
    if (known_) view.facts.sha256 = digest(view.revision);
    return view;
  }
  static std::string digest(int revision) {
    return fmt::format("{:02}{}", revision, std::string(62, 'a'));
  }
  // Deploys one more revision, and saves it where a step is given.
  void deploy(std::optional<int> step = {}) {
    domain::Manifest manifest;
    manifest.name = "f";
    manifest.model = "/models/x.gguf";
    manifest.context = 1000 + ++deployed_;
    manifest.prime = {"Be kind."};
    ASSERT_TRUE(rollouts_->put(manifest, std::nullopt));
    if (step) { ASSERT_TRUE(rollouts_->save("f", step)); }
  }
  std::vector<std::string> listed() {
    std::vector<std::string> words;
    const auto list = rollouts_->list("f").value();
    for (const control::CheckpointView& one : list)
      words.push_back(fmt::format("{} r{} w{}{}", one.step, one.revision, one.weight,
                                  one.damage.empty() ? "" : " damaged"));
    return words;
  }
  template <typename T>
  static std::string code(const Result<T>& result) {
    return result ? "" : result.error().code;
  }
  void damage(int step) {
    ASSERT_TRUE(writer_->run([step](storage::Database& database) {
      return database.execute(fmt::format(
          "UPDATE checkpoints SET content = replace(content, 'kind', 'evil') WHERE step = {}",
          step));
    }));
  }

  const std::string dir_ = storage::make_test_root();
  ManualClock clock_;
  models::ModelUsers users_;
  std::unique_ptr<storage::WriteLoop> writer_;
  std::unique_ptr<Rollouts> rollouts_;
  std::vector<control::TrafficSet::Served> serving_;
  bool known_ = true;
  domain::State state_ = domain::State::Cold;
  bool quarantined_ = false;
  int deployed_ = 0, told_ = 0;
};

TEST_F(RolloutsTest, Save_PinsWhatServesAndCountsInTens) {
  deploy();
  EXPECT_THAT(told(), ElementsAre("1=100 "));
  const auto saved = rollouts_->save("f", std::nullopt);
  ASSERT_TRUE(saved);
  EXPECT_EQ(saved->step, 10);
  EXPECT_EQ(saved->manifest.model_sha256, digest(1));
  EXPECT_EQ(saved->weight, 100);
  ASSERT_EQ(saved->prompts.size(), 1u);
  EXPECT_EQ(saved->prompts[0].bytes, 8u);
  EXPECT_EQ(saved->prompts[0].sha256.size(), 64u);
  EXPECT_THAT(told(), ElementsAre("1=100 01"));
  ASSERT_TRUE(rollouts_->save("f", 25));
  EXPECT_EQ(rollouts_->save("f", std::nullopt)->step, 30);
  EXPECT_THAT(listed(), ElementsAre("10 r1 w100", "25 r1 w100", "30 r1 w100"));
}

TEST_F(RolloutsTest, Save_RefusesWhatExistsAndWhatIsNotKnown) {
  EXPECT_EQ(code(rollouts_->save("f", 10)), "model_not_found");
  deploy();
  known_ = false;
  const auto unknown = rollouts_->save("f", std::nullopt);
  EXPECT_EQ(code(unknown), "checkpoint_conflict");
  EXPECT_THAT(unknown.error().message, HasSubstr("digest is unknown"));
  known_ = true;
  ASSERT_TRUE(rollouts_->save("f", 10));
  EXPECT_EQ(code(rollouts_->save("f", 10)), "checkpoint_conflict");
  ASSERT_TRUE(rollouts_->save("f", domain::kCheckpointStepMax));
  EXPECT_EQ(code(rollouts_->save("f", std::nullopt)), "checkpoint_conflict");
}

TEST_F(RolloutsTest, Activate_BringsTheRevisionBackPinned) {
  deploy(10);
  deploy(20);
  deploy();
  const auto served = rollouts_->activate("f", 10);
  ASSERT_TRUE(served);
  EXPECT_EQ(served->front().step, 10);
  EXPECT_THAT(told(), ElementsAre("1=100 01"));
  EXPECT_THAT(listed(), ElementsAre("10 r1 w100", "20 r2 w0"));
  reopen();
  EXPECT_THAT(told(), ElementsAre("1=100 01"));
  EXPECT_EQ(code(rollouts_->activate("f", 30)), "not_found");
  EXPECT_EQ(code(rollouts_->activate("g", 10)), "model_not_found");
}

TEST_F(RolloutsTest, Rollback_GoesBackStepByStepAlsoAfterARestart) {
  deploy(10);
  deploy(20);
  ASSERT_TRUE(rollouts_->activate("f", 10));
  ASSERT_TRUE(rollouts_->activate("f", 10));  // the same again does not count
  reopen();
  ASSERT_TRUE(rollouts_->roll_back("f"));
  EXPECT_THAT(told(), ElementsAre("2=100 02"));
  ASSERT_TRUE(rollouts_->roll_back("f"));
  EXPECT_THAT(told(), ElementsAre("1=100 01"));
  const auto none = rollouts_->roll_back("f");
  EXPECT_EQ(code(none), "checkpoint_conflict");
  EXPECT_THAT(told(), ElementsAre("1=100 01"));
  EXPECT_EQ(code(rollouts_->roll_back("g")), "model_not_found");
}

TEST_F(RolloutsTest, DeployOfWhatWasRolledBackTo_ChangesNothing) {
  deploy(10);
  deploy();
  ASSERT_TRUE(rollouts_->roll_back("f"));
  deployed_ = 0;
  domain::Manifest manifest = serving_[0].manifest;
  manifest.model_sha256.clear();  // as it was declared
  const auto put = rollouts_->put(manifest, std::nullopt);
  ASSERT_TRUE(put);
  EXPECT_FALSE(put->changed);
  EXPECT_EQ(put->revision, 1);
  EXPECT_EQ(code(rollouts_->put(manifest, 2)), "revision_conflict");
  EXPECT_TRUE(rollouts_->put(manifest, 1));
}

TEST_F(RolloutsTest, SameDeployOfAFailedFunction_IsToldOnceMore) {
  deploy();
  const domain::Manifest manifest = serving_[0].manifest;
  for (const bool failed : {false, true}) {
    told_ = 0;
    state_ = failed ? domain::State::Failed : domain::State::Ready;
    const auto put = rollouts_->put(manifest, std::nullopt);
    ASSERT_TRUE(put);
    EXPECT_FALSE(put->changed);
    EXPECT_EQ(put->revision, 1);
    EXPECT_EQ(told_, failed ? 1 : 0);
  }
}

// Its probe's replica is there, or on its way.
TEST_F(RolloutsTest, SameDeployOfAFunctionOnTrial_IsToldOnceMore) {
  deploy();
  const domain::Manifest manifest = serving_[0].manifest;
  quarantined_ = true;
  for (const domain::State state : {domain::State::Loading, domain::State::Ready}) {
    told_ = 0;
    state_ = state;
    const auto put = rollouts_->put(manifest, std::nullopt);
    ASSERT_TRUE(put);
    EXPECT_FALSE(put->changed);
    EXPECT_EQ(told_, 1) << to_string(state);
  }
}

TEST_F(RolloutsTest, Traffic_IsSplitAndSurvivesARestart) {
  deploy(10);
  deploy(20);
  const std::vector<domain::StepWeight> weights{{10, 10}, {20, 90}};
  const auto served = rollouts_->set_traffic("f", weights);
  ASSERT_TRUE(served);
  EXPECT_THAT(told(), ElementsAre("2=90 02", "1=10 01"));
  reopen();
  EXPECT_THAT(told(), ElementsAre("2=90 02", "1=10 01"));
  EXPECT_THAT(listed(), ElementsAre("10 r1 w10", "20 r2 w90"));
  ASSERT_TRUE(rollouts_->roll_back("f"));
  EXPECT_THAT(told(), ElementsAre("2=100 02"));
}

TEST_F(RolloutsTest, Traffic_NamesUnknownStepsAndMergesOneState) {
  deploy(10);
  ASSERT_TRUE(rollouts_->save("f", 11));
  deploy(20);
  EXPECT_EQ(code(rollouts_->set_traffic("f", std::vector<domain::StepWeight>{{10, 50}, {30, 50}})),
            "not_found");
  EXPECT_THAT(told(), ElementsAre("2=100 02"));
  ASSERT_TRUE(
      rollouts_->set_traffic("f", std::vector<domain::StepWeight>{{10, 30}, {11, 30}, {20, 40}}));
  EXPECT_THAT(told(), ElementsAre("1=60 01", "2=40 02"));
  ASSERT_TRUE(rollouts_->set_traffic("f", std::vector<domain::StepWeight>{{10, 100}, {20, 0}}));
  EXPECT_THAT(told(), ElementsAre("1=100 01"));
}

TEST_F(RolloutsTest, Deploy_OverASplitOfTheSameManifest_IsAChange) {
  deploy(10);
  deploy(20);
  ASSERT_TRUE(rollouts_->set_traffic("f", std::vector<domain::StepWeight>{{10, 10}, {20, 90}}));
  domain::Manifest heaviest = serving_[0].manifest;
  heaviest.model_sha256.clear();
  const auto put = rollouts_->put(heaviest, std::nullopt);
  ASSERT_TRUE(put);
  EXPECT_TRUE(put->changed);
  EXPECT_THAT(told(), ElementsAre("3=100 "));
}

TEST_F(RolloutsTest, Remove_IsRefusedWhileItServes) {
  deploy(10);
  deploy(20);
  ASSERT_TRUE(rollouts_->set_traffic("f", std::vector<domain::StepWeight>{{10, 1}, {20, 99}}));
  EXPECT_EQ(code(rollouts_->remove("f", 10)), "checkpoint_conflict");
  EXPECT_EQ(code(rollouts_->remove("f", 30)), "not_found");
  ASSERT_TRUE(rollouts_->activate("f", 20));
  ASSERT_TRUE(rollouts_->remove("f", 10));
  EXPECT_THAT(listed(), ElementsAre("20 r2 w100"));
}

TEST_F(RolloutsTest, DamagedCheckpoint_IsListedAndNeverServes) {
  deploy(10);
  deploy(20);
  damage(10);
  EXPECT_THAT(listed(), ElementsAre("10 r1 w0 damaged", "20 r2 w100"));
  const auto refused = rollouts_->activate("f", 10);
  EXPECT_EQ(code(refused), "checkpoint_conflict");
  EXPECT_THAT(refused.error().message, HasSubstr("damaged"));
  EXPECT_EQ(code(rollouts_->set_traffic("f", std::vector<domain::StepWeight>{{10, 10}, {20, 90}})),
            "checkpoint_conflict");
  EXPECT_THAT(told(), ElementsAre("2=100 02"));
  ASSERT_TRUE(rollouts_->remove("f", 10));
  EXPECT_THAT(listed(), ElementsAre("20 r2 w100"));
}

TEST_F(RolloutsTest, DamagedPartOfASplit_IsLeftOutAtTheNextStart) {
  deploy(10);
  deploy(20);
  ASSERT_TRUE(rollouts_->set_traffic("f", std::vector<domain::StepWeight>{{10, 90}, {20, 10}}));
  damage(10);
  reopen();
  EXPECT_THAT(told(), ElementsAre("2=100 02"));
  EXPECT_THAT(listed(), ElementsAre("10 r1 w0 damaged", "20 r2 w100"));
  ASSERT_TRUE(rollouts_->remove("f", 10));
  reopen();
  EXPECT_THAT(told(), ElementsAre("2=100 02"));
}

TEST_F(RolloutsTest, DamagedWhereNothingElseServes_RevisionServesAsDeployed) {
  deploy(10);
  damage(10);
  reopen();
  EXPECT_THAT(told(), ElementsAre("1=100 "));
}

TEST_F(RolloutsTest, WhatWasMeasured_GoesWithItsRevisionAndIsNotSaved) {
  deploy();
  domain::TuneResult tuned{.cores = 2};
  tuned.choice.tuning.batch = 96;
  ASSERT_TRUE(rollouts_->keep_tuned("f", tuned));
  EXPECT_EQ(rollouts_->deployed("f")->run_manifest().tuning.batch, 96);
  ASSERT_TRUE(rollouts_->save("f", 10));
  EXPECT_EQ(serving_[0].manifest.tuning.batch, 96);
  EXPECT_NE(rollouts_->list("f")->at(0).manifest.tuning.batch, 96);
  domain::Manifest other = rollouts_->deployed("f")->manifest;
  other.slots = 1;
  ASSERT_TRUE(rollouts_->put(other, std::nullopt));
  ASSERT_TRUE(rollouts_->activate("f", 10));
  EXPECT_EQ(serving_[0].manifest.tuning.batch, 96);
  EXPECT_EQ(serving_[0].manifest.model_sha256, digest(1));
  reopen();
  EXPECT_EQ(serving_[0].manifest.tuning.batch, 96);
}

TEST_F(RolloutsTest, ModelsOfASplitAndOfCheckpoints_AreInUse) {
  deploy(10);
  deploy(20);
  ASSERT_TRUE(rollouts_->set_traffic("f", std::vector<domain::StepWeight>{{10, 50}, {20, 50}}));
  deploy();
  deploy();
  const auto used = [this] {
    return users_.by_digest([](const models::ModelWish& wish) { return wish.sha256_pin; });
  };
  EXPECT_TRUE(used().contains(digest(1)));
  EXPECT_TRUE(used().contains(digest(2)));
  ASSERT_TRUE(rollouts_->remove("f", 20));
  EXPECT_TRUE(used().contains(digest(1)));
  EXPECT_FALSE(used().contains(digest(2)));
  ASSERT_TRUE(rollouts_->remove_function("f"));
  EXPECT_TRUE(used().empty());
}

TEST_F(RolloutsTest, RemovedFunction_ComesBackWithoutItsCheckpoints) {
  deploy(10);
  ASSERT_TRUE(rollouts_->remove_function("f"));
  EXPECT_EQ(code(rollouts_->list("f")), "model_not_found");
  deploy();
  EXPECT_THAT(listed(), IsEmpty());
  EXPECT_EQ(code(rollouts_->roll_back("f")), "checkpoint_conflict");
}

TEST_F(RolloutsTest, EngineWithoutAModel_IsSavedWithoutADigest) {
  domain::Manifest manifest;
  manifest.name = "f";
  manifest.engine.kind = domain::EngineKind::Fake;
  ASSERT_TRUE(rollouts_->put(manifest, std::nullopt));
  known_ = false;
  const auto saved = rollouts_->save("f", std::nullopt);
  ASSERT_TRUE(saved);
  EXPECT_EQ(saved->manifest.model_sha256, "");
}

}  // namespace
}  // namespace glowplug::app
