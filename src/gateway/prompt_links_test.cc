#include "gateway/prompt_links.h"

#include <gtest/gtest.h>

namespace glowplug::gateway {
namespace {

domain::PromptLinks links(const std::string& request) {
  return prompt_links(boost::json::parse(request).as_object());
}
std::size_t shared(const std::string& a, const std::string& b) {
  const domain::PromptLinks one = links(a), other = links(b);
  std::size_t count = 0;
  while (count < std::min(one.size(), other.size()) && one[count] == other[count]) ++count;
  return count;
}

TEST(PromptLinks, ConversationThatGoesOn_BeginsAsItDid) {
  const std::string first =
      R"({"messages":[{"role":"system","content":"s"},{"role":"user","content":"a"}]})";
  const std::string next =
      R"({"model":"x","messages":[{"role":"system","content":"s"},{"role":"user","content":"a"},
                               {"role":"assistant","content":"b"},{"role":"user","content":"c"}]})";
  EXPECT_EQ(links(first).size(), 2u);
  EXPECT_EQ(shared(first, next), 2u);
  EXPECT_GT(links(first).back().bytes, links(first).front().bytes);
}

TEST(PromptLinks, OtherFirstMessage_SharesNothing) {
  EXPECT_EQ(shared(R"({"messages":[{"content":"a"},{"content":"b"}]})",
                   R"({"messages":[{"content":"x"},{"content":"b"}]})"),
            0u);
  EXPECT_EQ(shared(R"({"messages":[{"content":"ab"},{"content":"c"}]})",
                   R"({"messages":[{"content":"a"},{"content":"bc"}]})"),
            0u);
}

TEST(PromptLinks, ToolsAndInstructions_ComeFirst) {
  EXPECT_EQ(
      shared(R"({"tools":[1],"messages":[{"content":"a"}]})", R"({"messages":[{"content":"a"}]})"),
      0u);
  EXPECT_EQ(shared(R"({"instructions":"i","input":"a"})", R"({"instructions":"i","input":"b"})"),
            1u);
}

TEST(PromptLinks, Text_HasOneForEachWholeKilobyte) {
  const std::string text(2500, 'x');
  EXPECT_EQ(links(R"({"prompt":")" + text + "\"}").size(), 2u);
  EXPECT_EQ(shared(R"({"prompt":")" + text + "\"}", R"({"prompt":")" + text + "y\"}"), 2u);
  EXPECT_TRUE(links(R"({"prompt":"short"})").empty());
}

TEST(PromptLinks, WhatIsVeryLong_IsNotLookedAt) {
  const std::string image(5'000'000, 'x');
  EXPECT_EQ(
      links(R"({"messages":[{"content":"a"},{"content":")" + image + R"("},{"content":"b"}]})")
          .size(),
      1u);
  EXPECT_TRUE(links(R"({"system":")" + image + R"(","messages":[{"content":"a"}]})").empty());
  EXPECT_EQ(links(R"({"prompt":")" + image + "\"}").size(), domain::kPromptLinksMax);
}

TEST(PromptLinks, NoPrompt_HasNone_AndNoMoreThanTheirMost) {
  EXPECT_TRUE(links("{}").empty());
  EXPECT_TRUE(links(R"({"messages":3,"prompt":null})").empty());
  std::string many = R"({"messages":[1)";
  for (int i = 0; i < 1000; ++i) many += ",1";
  EXPECT_EQ(links(many + "]}").size(), domain::kPromptLinksMax);
}

}  // namespace
}  // namespace glowplug::gateway
