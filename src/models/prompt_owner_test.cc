// Whose a prompt state is: nobody else is told of it, and a forgotten tenant's is nobody's.
#include <algorithm>
#include <filesystem>

#include <gtest/gtest.h>

#include "domain/errors.h"
#include "domain/limits.h"
#include "models/prompt_store.h"
#include "models/test_states.h"

namespace glowplug::models {
namespace {

namespace fs = std::filesystem;

TEST(PromptOwner, OtherOwners_NeverSeeIt) {
  StateWorld world;
  PromptStore& store = world.open();
  const std::uint64_t id = StateWorld::keep(store, {1, 2, 3});
  for (const StateOwner& other : {kBob, kAnnElsewhere}) {
    EXPECT_EQ(ids_of(store, other), StateIds{});
    EXPECT_EQ(loaded(store, id, other), domain::error::kNotFound);
    EXPECT_EQ(store.load(other, kFit, id).error(), store.load(other, kFit, id + 1).error())
        << "the answer tells that there is one";
  }
  EXPECT_EQ(store.counts().refused_for(StateRefusal::OtherOwner), 4u);
  EXPECT_EQ(loaded(store, id), engine_text({1, 2, 3}, 100));  // and it is still there
}

TEST(PromptOwner, EqualTokensOfTwoOwners_AreTwoStates) {
  StateWorld world;
  PromptStore& store = world.open();
  const std::uint64_t mine = StateWorld::keep(store, {1, 2, 3});
  const std::uint64_t longer = StateWorld::keep(store, {1, 2, 3, 4}, 100, kAnnElsewhere);
  const std::uint64_t theirs = StateWorld::keep(store, {1, 2, 3}, 100, kBob);
  EXPECT_EQ(ids_of(store), StateIds{mine});
  EXPECT_EQ(ids_of(store, kAnnElsewhere), StateIds{longer});
  EXPECT_EQ(ids_of(store, kBob), StateIds{theirs});
  PromptStore& again = world.open();
  EXPECT_EQ(ids_of(again), StateIds{mine});
  EXPECT_EQ(ids_of(again, kAnnElsewhere), StateIds{longer});
}

TEST(PromptOwner, OtherFit_IsNotRememberedAndNotDamaged) {
  StateWorld world;
  PromptStore& store = world.open();
  const std::uint64_t id = StateWorld::keep(store, {1, 2, 3});
  for (std::string StateFit::*part :
       {&StateFit::model_sha256, &StateFit::engine, &StateFit::settings, &StateFit::adapters}) {
    StateFit other = kFit;
    other.*part += "x";
    EXPECT_EQ(ids_of(store, kAnn, other), StateIds{});
    EXPECT_EQ(loaded(store, id, kAnn, other), domain::error::kNotFound);
  }
  EXPECT_EQ(store.counts().refused_for(StateRefusal::OtherFit), 4u);
  EXPECT_EQ(ids_of(world.open()), StateIds{id});
}

TEST(PromptOwner, ForgottenTenant_HasNoStatesAndOthersDo) {
  StateWorld world;
  PromptStore& store = world.open();
  const std::uint64_t mine = StateWorld::keep(store, {1});
  StateWorld::keep(store, {2}, 100, kAnnElsewhere);
  const std::uint64_t theirs = StateWorld::keep(store, {1}, 100, kBob);
  for (const std::string& file : world.files()) fs::copy(file, file + ".saved");
  ASSERT_TRUE(store.forget_tenant("ann").ok());
  EXPECT_EQ(ids_of(store), StateIds{});
  EXPECT_EQ(loaded(store, mine), domain::error::kNotFound);
  EXPECT_EQ(ids_of(store, kBob), StateIds{theirs});

  // Whoever saved the files before has nothing: the key is gone, and a new one does not open them.
  world.close();
  for (const std::string& file : world.files())
    if (file.ends_with(".saved")) fs::rename(file, file.substr(0, file.size() - 6));
  PromptStore& again = world.open();
  EXPECT_EQ(again.counts().refused_for(StateRefusal::NoKey), 2u);
  EXPECT_EQ(ids_of(again), StateIds{});
  EXPECT_EQ(ids_of(again, kBob), StateIds{theirs});
}

TEST(PromptOwner, ForgottenTenant_MayComeBack) {
  StateWorld world;
  PromptStore& store = world.open();
  StateWorld::keep(store, {1});
  ASSERT_TRUE(store.forget_tenant("ann").ok());
  const std::uint64_t again = StateWorld::keep(store, {1});
  EXPECT_EQ(ids_of(world.open()), StateIds{again});
}

TEST(PromptOwner, NamesThatNoStateMayCarry_AreRefused) {
  StateWorld world;
  PromptStore& store = world.open();
  const UniqueFd fd = memory_file(engine_text({1}, 10));
  const std::vector<StateOwner> owners{
      {.tenant = "", .domain = "d"},
      {.tenant = "a\nb", .domain = "d"},
      {.tenant = "a", .domain = "\x7f"},
      {.tenant = std::string(domain::kPromptOwnerBytesMax + 1, 'a'), .domain = "d"}};
  for (const StateOwner& owner : owners)
    EXPECT_EQ(store.keep(owner, kFit, fd.get()).error().code, domain::error::kInvalidValue);
  StateFit fit = kFit;
  fit.settings = std::string(domain::kPromptFitBytesMax + 1, 'a');
  EXPECT_FALSE(store.keep(kAnn, fit, fd.get()).ok());
  fit = kFit;
  fit.model_sha256.clear();
  EXPECT_FALSE(store.keep(kAnn, fit, fd.get()).ok());
  EXPECT_EQ(store.counts().refused_for(StateRefusal::BadArgument), 6u);
}

TEST(PromptOwner, LongestNames_AreKept) {
  StateWorld world;
  const std::string text(domain::kPromptFitBytesMax, 'f');
  const std::string name(domain::kPromptOwnerBytesMax, 'n');
  const StateFit fit{.model_sha256 = text, .engine = text, .settings = text, .adapters = text};
  const StateOwner owner{.tenant = name, .domain = name};
  const std::uint64_t id = StateWorld::keep(world.open(), {1}, 10, owner, fit);
  EXPECT_EQ(loaded(world.open(), id, owner, fit), engine_text({1}, 10));
}

}  // namespace
}  // namespace glowplug::models
