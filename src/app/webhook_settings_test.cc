#include "app/webhook_settings.h"

#include <boost/json/parse.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace glowplug::app {
namespace {

using ::testing::HasSubstr;

struct Read {
  std::optional<models::TargetRule> rule;
  std::string faults;
};

Read read(const std::string& text) {
  models::ManifestFields::Faults faults;
  Read made;
  made.rule = read_webhooks(boost::json::parse(text), faults);
  for (const std::string& one : faults) made.faults += one + "\n";
  return made;
}

TEST(WebhookSettings, AllowedHostsAndRanges_AreTheRules) {
  const Read made = read(R"({"allow":["10.1.0.0/16","127.0.0.1"],"allow_http":true})");
  ASSERT_TRUE(made.rule) << made.faults;
  EXPECT_TRUE(made.rule->check("https://10.1.2.3/").ok());
  EXPECT_TRUE(made.rule->check("http://127.0.0.1:99/").ok());
  EXPECT_FALSE(made.rule->check("https://10.2.2.3/").ok());
}

TEST(WebhookSettings, Empty_IsTheDefault) {
  const Read made = read("{}");
  ASSERT_TRUE(made.rule) << made.faults;
  EXPECT_TRUE(made.rule->check("https://example.com/").ok());
  EXPECT_FALSE(made.rule->check("http://example.com/").ok());
  EXPECT_FALSE(made.rule->check("https://127.0.0.1/").ok());
}

TEST(WebhookSettings, Faults_NameTheirField) {
  EXPECT_THAT(read("5").faults, HasSubstr("webhooks: must be as {allow:"));
  EXPECT_THAT(read(R"({"allow":"x"})").faults, HasSubstr("webhooks.allow: must be a list"));
  EXPECT_THAT(read(R"({"allow":["*"]})").faults, HasSubstr("webhooks.allow: \"*\" is neither"));
  EXPECT_THAT(read(R"({"allow_http":1})").faults,
              HasSubstr("webhooks.allow_http: must be true or false"));
  EXPECT_THAT(read(R"({"alow":[]})").faults, HasSubstr("alow"));
  EXPECT_FALSE(read(R"({"alow":[]})").rule);
}

}  // namespace
}  // namespace glowplug::app
