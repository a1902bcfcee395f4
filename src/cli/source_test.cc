#include "cli/source.h"

#include <gtest/gtest.h>

#include "cli/exit_code.h"

namespace glowplug::cli {
namespace {

TEST(Source, EachKind_IsToldByItsText) {
  const std::pair<const char*, SourceKind> cases[] = {
      {"smollm2", SourceKind::Catalogue},
      {"qwen2.5-0.5b", SourceKind::Catalogue},
      {"./models/a.gguf", SourceKind::GgufFile},
      {"A.GGUF", SourceKind::GgufFile},
      {"hf:org/repo:file.gguf", SourceKind::HuggingFace},
      {"https://example.org/x.gguf", SourceKind::Url},
      {"https://example.org/x.gguf?a=b.json", SourceKind::Url},
      {"chat.yaml", SourceKind::Manifest},
      {"dir/chat.yml", SourceKind::Manifest},
      {"chat.json", SourceKind::Manifest},
  };
  for (const auto& [text, kind] : cases) {
    const Result<SourceKind> got = classify_source(text);
    ASSERT_TRUE(got.ok()) << text << ": " << got.error().message;
    EXPECT_EQ(*got, kind) << text;
  }
}

TEST(Source, NoKind_IsAUsageErrorThatNamesTheText) {
  for (const char* text : {"", "org/repo", "hf:org", "hf:org/repo", "hf:/repo:f", "hf:org/:f",
                           "hf:org/repo:", "http://example.org/x.gguf", "two words"}) {
    const Result<SourceKind> got = classify_source(text);
    ASSERT_FALSE(got.ok()) << text;
    EXPECT_EQ(got.error().code, kUsage);
    EXPECT_NE(got.error().message.find(text), std::string::npos);
  }
}

TEST(Source, Name_ComesFromTheStem) {
  EXPECT_EQ(name_from_source(SourceKind::Catalogue, "smollm2"), "smollm2");
  EXPECT_EQ(name_from_source(SourceKind::Catalogue, "qwen2.5-0.5b"), "qwen2-5-0-5b");
  EXPECT_EQ(name_from_source(SourceKind::GgufFile, "/m/SmolLM2_135M.Q4_K_M.gguf"),
            "smollm2-135m-q4-k-m");
  EXPECT_EQ(name_from_source(SourceKind::GgufFile, "--x--.GGUF"), "x");
  EXPECT_EQ(name_from_source(SourceKind::HuggingFace, "hf:org/repo:sub/File.gguf"), "file");
  EXPECT_EQ(name_from_source(SourceKind::Url, "https://h/a/B.gguf?download=true#x/y"), "b");
  EXPECT_EQ(name_from_source(SourceKind::GgufFile, "___.gguf"), "");
}

TEST(Source, LongName_IsCutTo63WithoutADashAtItsEnd) {
  EXPECT_EQ(name_from_text(std::string(80, 'a')), std::string(63, 'a'));
  EXPECT_EQ(name_from_text(std::string(62, 'a') + "-b"), std::string(62, 'a'));
}

TEST(Source, ManifestName_IsFoundAtTopLevelOnly) {
  EXPECT_EQ(name_from_manifest("kind: Function\nname: chat\nmodel: x\n"), "chat");
  EXPECT_EQ(name_from_manifest("name: \"chat\"  # the name\r\n"), "chat");
  EXPECT_EQ(name_from_manifest("name: chat # the name\n"), "chat");
  EXPECT_EQ(name_from_manifest("{\"kind\":\"Function\",\"name\":\"chat\"}"), "chat");
  EXPECT_EQ(name_from_manifest("model:\n  name: inner\n"), std::nullopt);
  EXPECT_EQ(renamed_manifest("kind: Function\nname: a # old\nmodel: x\n", "b"),
            "kind: Function\nname: b\nmodel: x\n");
  EXPECT_EQ(renamed_manifest("model: x\n", "b"), "name: b\nmodel: x\n");
  EXPECT_EQ(name_from_manifest(renamed_manifest("{\"name\":\"a\"}", "b")), "b");
  EXPECT_EQ(name_from_manifest("name:\n"), std::nullopt);
  EXPECT_EQ(name_from_manifest(""), std::nullopt);
}

}  // namespace
}  // namespace glowplug::cli
