#include "app/prompt_states.h"

#include <gtest/gtest.h>

namespace glowplug::app {
namespace {

TEST(OwnerOf, SaltNarrowsAndIsNotWrittenDown) {
  const auto open = owner_of({});
  const auto salted = owner_of({.tenant = "", .salt = "pepper"});
  EXPECT_EQ(open.tenant, salted.tenant);
  EXPECT_NE(open.domain, salted.domain);
  EXPECT_EQ(salted.domain.find("pepper"), std::string::npos);
  EXPECT_NE(owner_of({.tenant = "red", .salt = ""}).tenant, open.tenant);
}

TEST(FitOf, AnotherModelEngineOrContextDoesNotFit) {
  control::StartProcess start;
  start.facts.sha256 = "aa";
  const auto fit = fit_of(start, "1");
  EXPECT_EQ(fit, fit_of(start, "1"));
  EXPECT_NE(fit, fit_of(start, "2"));
  control::StartProcess other = start;
  other.facts.sha256 = "ab";
  EXPECT_NE(fit, fit_of(other, "1"));
  other = start;
  other.manifest.context *= 2;
  EXPECT_NE(fit, fit_of(other, "1"));
  other = start;
  other.manifest.engine.kind = domain::EngineKind::Fake;
  EXPECT_NE(fit, fit_of(other, "1"));
}

}  // namespace
}  // namespace glowplug::app
