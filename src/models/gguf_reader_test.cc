#include "models/gguf_reader.h"

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/test_gguf.h"

namespace glowplug::models {
namespace {

using ::testing::HasSubstr;

class GgufReader : public ::testing::Test {
 protected:
  Result<domain::ModelFacts> read(const std::string& bytes) {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << bytes;
    return read_gguf(path_);
  }
  std::string why(const std::string& bytes) {
    const auto facts = read(bytes);
    if (facts.ok()) return "accepted";
    EXPECT_EQ(facts.error().code, "model_rejected");
    return facts.error().message;
  }
  void TearDown() override { std::remove(path_.c_str()); }

  std::string path_ = ::testing::TempDir() + "gguf-" + std::to_string(::getpid()) + ".gguf";
};

TEST_F(GgufReader, ValidFile_GivesItsFacts) {
  const auto facts = read(TestGguf().bytes());
  ASSERT_TRUE(facts.ok()) << facts.error().message;
  EXPECT_EQ(facts->architecture, "llama");
  EXPECT_EQ(facts->context_trained, 128);
  EXPECT_EQ(facts->embedding_length, 8);
  EXPECT_EQ(facts->vocabulary, 4u);
  EXPECT_EQ(facts->kv_bytes_per_token,
            2u * 1 * (4 + 4) * 2);  // two layers, one KV head of 4 and 4, f16
  EXPECT_EQ(facts->weight_bytes, 4u * (8 * 4 + 8 + 8));
  EXPECT_EQ(facts->chat_template, "{{ messages }}");
}

TEST_F(GgufReader, HeadCountKvPerLayer_IsSummed) {
  TestGguf file;
  file.set_array("llama.attention.head_count_kv", {1, 0});
  const auto facts = read(file.bytes());
  ASSERT_TRUE(facts.ok()) << facts.error().message;
  EXPECT_EQ(facts->kv_bytes_per_token, 1u * (4 + 4) * 2);
}

TEST_F(GgufReader, ModelOfStatesAlone_HasNoHeadsAndNoCache) {
  TestGguf file;
  file.set("llama.attention.head_count", 0).set("llama.attention.head_count_kv", 0);
  file.set("llama.ssm.state_size", 16);
  const auto facts = read(file.bytes());
  ASSERT_TRUE(facts.ok()) << facts.error().message;
  EXPECT_EQ(facts->kv_bytes_per_token, 0u);
}

TEST_F(GgufReader, NotAModel_SaysWhatItIs) {
  EXPECT_THAT(why(""), HasSubstr("empty"));
  EXPECT_THAT(why("<html>not found</html>"), HasSubstr("not a GGUF"));
  EXPECT_THAT(why("GG"), HasSubstr("not a GGUF"));
  EXPECT_THAT(why("GGUF"), HasSubstr("version"));
  EXPECT_FALSE(read_gguf("/nonexistent.gguf").ok());
  EXPECT_FALSE(read_gguf("/").ok());
}

TEST_F(GgufReader, GiantCounts_AreRefusedBeforeAllocation) {
  std::string bytes = TestGguf().bytes();
  const std::uint64_t giant = std::uint64_t{1} << 60;
  std::string tensors = bytes;
  std::memcpy(tensors.data() + 8, &giant, 8);
  EXPECT_THAT(why(tensors), HasSubstr("tensors; at most"));
  std::memcpy(bytes.data() + 16, &giant, 8);
  EXPECT_THAT(why(bytes), HasSubstr("keys; at most"));
}

TEST_F(GgufReader, MalformedMetadata_IsNamed) {
  EXPECT_THAT(why(TestGguf().set_raw("bad.string", 8, u64(1'000'000'000)).bytes()),
              HasSubstr("bad.string"));
  EXPECT_THAT(why(TestGguf().set_raw("bad.nested", 9, u32(9) + u64(1)).bytes()),
              HasSubstr("array of arrays"));
  EXPECT_THAT(why(TestGguf().set_raw("bad.list", 9, u32(4) + u64(1u << 30)).bytes()),
              HasSubstr("elements; at most"));
  EXPECT_THAT(why(TestGguf().set_raw("bad.type", 77, "").bytes()), HasSubstr("unknown value type"));
  EXPECT_THAT(why(TestGguf().set_raw("bad.flag", 7, std::string("\x05", 1)).bytes()),
              HasSubstr("neither true nor false"));
  EXPECT_THAT(why(TestGguf().set_raw("llama.block_count", 4, u32(2)).bytes()),
              HasSubstr("appears twice"));
  EXPECT_THAT(why(TestGguf().set_raw("bad key", 4, u32(2)).bytes()),
              HasSubstr("characters outside"));
}

TEST_F(GgufReader, MeaninglessValues_AreNamed) {
  EXPECT_THAT(why(TestGguf().set("llama.block_count", 100'000).bytes()),
              HasSubstr("block_count is 100000"));
  EXPECT_THAT(why(TestGguf().set("llama.block_count", 3).bytes()), HasSubstr("layer 2"));
  EXPECT_THAT(why(TestGguf().set("llama.attention.head_count", 0).bytes()),
              HasSubstr("head_count is 0"));
  EXPECT_THAT(why(TestGguf().set("llama.context_length", 0).bytes()),
              HasSubstr("context_length is 0"));
  EXPECT_THAT(why(TestGguf().set("general.alignment", 3).bytes()), HasSubstr("power of two"));
  EXPECT_THAT(why(TestGguf().set("split.count", 3).bytes()), HasSubstr("split model"));
  EXPECT_THAT(why(TestGguf().without("llama.embedding_length").bytes()),
              HasSubstr("embedding_length is missing"));
  EXPECT_THAT(why(TestGguf().without("general.architecture").bytes()),
              HasSubstr("general.architecture"));
  EXPECT_THAT(why(TestGguf().without("tokenizer.ggml.tokens").bytes()),
              HasSubstr("tokenizer.ggml.tokens"));
  EXPECT_THAT(why(TestGguf().without_tensors().bytes()), HasSubstr("vocabulary only"));
}

TEST_F(GgufReader, MisplacedTensors_AreNamed) {
  TestGguf far;
  far.tensors[1].offset_shift = 1 << 20;
  EXPECT_THAT(why(far.bytes()), HasSubstr("it must be at"));
  TestGguf wide;
  wide.tensors[1].dimensions = {std::uint64_t{1} << 40, std::uint64_t{1} << 40};
  EXPECT_THAT(why(wide.bytes()), HasSubstr("2^40"));
  TestGguf odd;
  odd.tensors[1].type = 4;
  EXPECT_THAT(why(odd.bytes()), HasSubstr("unknown data type 4"));
  TestGguf twice;
  twice.tensors[2].name = twice.tensors[1].name;
  EXPECT_THAT(why(twice.bytes()), HasSubstr("appears twice"));
  const std::string bytes = TestGguf().bytes();
  EXPECT_THAT(why(bytes.substr(0, bytes.size() - 5)), HasSubstr("5 bytes are missing"));
}

TEST_F(GgufReader, AnyTruncation_IsRefused) {
  const std::string bytes = TestGguf().bytes();
  for (std::size_t n = 0; n < bytes.size(); ++n) EXPECT_FALSE(read(bytes.substr(0, n)).ok()) << n;
}

TEST_F(GgufReader, RandomDamage_NeverCrashes) {
  const char* given = std::getenv("GLOWPLUG_SEED");
  const auto seed = given != nullptr ? std::strtoul(given, nullptr, 10) : std::random_device{}();
  RecordProperty("seed", std::to_string(seed));
  std::printf("seed %lu (GLOWPLUG_SEED repeats it)\n", static_cast<unsigned long>(seed));
  std::mt19937_64 random(seed);
  const std::string bytes = TestGguf().bytes();
  for (int round = 0; round < 3000; ++round) {
    std::string damaged = bytes;
    for (std::uint64_t flips = 1 + random() % 8; flips > 0; --flips)
      damaged[random() % damaged.size()] ^= static_cast<char>(1u << random() % 8);
    if (random() % 4 == 0) damaged.resize(random() % damaged.size());
    const auto facts = read(damaged);
    if (facts.ok()) { EXPECT_LE(facts->weight_bytes, facts->file_bytes); }
  }
}

}  // namespace
}  // namespace glowplug::models
