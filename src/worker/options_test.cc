#include "worker/options.h"

#include <gtest/gtest.h>

namespace glowplug::worker {
namespace {

std::vector<std::string> fake_line(std::vector<std::string> more = {}) {
  std::vector<std::string> line = {
      "--protocol",    "4", "--engine", "fake",     "--socket",  "/run/a.sock", "--control-fd", "3",
      "--lifeline-fd", "4", "--task",   "generate", "--context", "64",          "--slots",      "2",
      "--threads",     "1", "--cores",  "2"};
  line.insert(line.end(), more.begin(), more.end());
  return line;
}

std::string refused(const std::vector<std::string>& line) {
  const auto parsed = parse_options(line);
  return parsed ? "accepted" : parsed.error().message;
}

TEST(Options, ReadsEveryField) {
  const auto parsed = parse_options(
      fake_line({"--model=/m.gguf", "--chat-template-file", "/t.jinja", "--fake-load-ms", "50",
                 "--fake-tokens-per-second", "12.5", "--fake-fault", "crash_after_tokens:7"}));
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->engine, EngineKind::kFake);
  EXPECT_EQ(parsed->socket_path, "/run/a.sock");
  EXPECT_EQ(parsed->context, 64);
  EXPECT_EQ(parsed->slots, 2);
  EXPECT_EQ(parsed->threads, 1);
  EXPECT_EQ(parsed->cores, 2);
  EXPECT_EQ(parsed->model_path, "/m.gguf");
  EXPECT_EQ(parsed->chat_template_path, "/t.jinja");
  EXPECT_EQ(parsed->fake.load_ms, 50);
  EXPECT_DOUBLE_EQ(parsed->fake.tokens_per_second, 12.5);
  EXPECT_EQ(parsed->fake.fault, FakeFault::kCrashAfterTokens);
  EXPECT_EQ(parsed->fake.fault_tokens, 7);
}

TEST(Options, RoleIsReplicaUnlessItSaysTemplate) {
  EXPECT_FALSE(parse_options(fake_line())->is_template);
  EXPECT_TRUE(parse_options(fake_line({"--role", "template"}))->is_template);
  EXPECT_TRUE(refused(fake_line({"--role", "spare"})).find("replica, template") !=
              std::string::npos);
}

TEST(Options, WarmIsSaidOutright) {
  EXPECT_FALSE(parse_options(fake_line())->warm);
  EXPECT_TRUE(parse_options(fake_line({"--warm", "yes"}))->warm);
  EXPECT_TRUE(refused(fake_line({"--warm", "1"})).find("no, yes") != std::string::npos);
}

TEST(Options, EngineSettingsAreAutoUnlessTheySay) {
  EXPECT_EQ(parse_options(fake_line())->tuning, domain::Tuning{});
  const auto parsed = parse_options(fake_line({"--batch", "128", "--repack", "off", "--kv", "q8_0",
                                               "--role", "measure", "--file-type", "q4_0"}));
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->tuning, (domain::Tuning{128, domain::Repack::Off, domain::KvType::Q8_0}));
  EXPECT_TRUE(parsed->measures);
  EXPECT_FALSE(parsed->is_template);
  EXPECT_EQ(parsed->file_type, "q4_0");
  EXPECT_EQ(refused(fake_line({"--file-type", "q4_0"})), "--file-type: is for --role measure");
  EXPECT_TRUE(refused(fake_line({"--batch", "5"})).starts_with("--batch: a step needs room"));
  EXPECT_TRUE(refused(fake_line({"--batch", "4097"})).find("from 1 to 4096") != std::string::npos);
  EXPECT_TRUE(refused(fake_line({"--kv", "q4_0"})).find("f16, q8_0") != std::string::npos);
}

TEST(Options, VersionNeedsNothingElse) {
  const auto parsed = parse_options({"--version"});
  ASSERT_TRUE(parsed.ok());
  EXPECT_TRUE(parsed->version);
}

TEST(Options, RefusalNamesTheOption) {
  EXPECT_EQ(refused({}), "--protocol: is required");
  EXPECT_EQ(refused({"--what", "1"}), "--what: no such option");
  EXPECT_TRUE(
      refused({"--slots", "65"}).starts_with("--slots: '65' is not a whole number from 1 to 64"));
  EXPECT_TRUE(refused({"--slots", "2x"}).starts_with("--slots: '2x'"));
  EXPECT_TRUE(refused({"--task", "sing"}).find("embed, generate, rerank") != std::string::npos);
  EXPECT_TRUE(refused({"--socket", "/run/a"}).find("must end in .sock") != std::string::npos);
  EXPECT_TRUE(refused({"--socket", "/" + std::string(110, 'a') + ".sock"}).find("107 bytes") !=
              std::string::npos);
  EXPECT_TRUE(refused({"--protocol", "1"}).find("speaks protocol 4") != std::string::npos);
  EXPECT_EQ(refused(fake_line({"--slots", "3"})), "--slots: is given twice");
  EXPECT_TRUE(refused(fake_line({"--fake-fault", "hang_after_tokens"})).find("needs a number") !=
              std::string::npos);
  EXPECT_TRUE(refused(fake_line({"--fake-fault", "never_ready:1"})).starts_with("--fake-fault:"));
  for (const std::string text : {"crash_on_prompt", "crash_on_prompt:", "escape"})
    EXPECT_TRUE(refused(fake_line({"--fake-fault", text})).find("needs a text") !=
                std::string::npos)
        << text;
}

TEST(Options, FaultOfAPrompt_KeepsItsText) {
  const auto parsed = parse_options(fake_line({"--fake-fault", "crash_on_prompt:a: b"}));
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(parsed->fake.fault, FakeFault::kCrashOnPrompt);
  EXPECT_EQ(parsed->fake.fault_text, "a: b");
}

TEST(Options, LlamaNeedsAModel) {
  auto line = fake_line();
  line[3] = "llama";
  EXPECT_EQ(refused(line), "--model: is required with --engine llama");
}

}  // namespace
}  // namespace glowplug::worker
