#include "simulate/trace.h"

#include <filesystem>
#include <fstream>
#include <zlib.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/read_file.h"
#include "domain/limits.h"

namespace glowplug::simulate {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string sample(const std::string& name) {
  return std::string(GLOWPLUG_TEST_DATA) + "/traces/" + name;
}

bool write_gzip(const std::string& path, const std::string& text) {
  const gzFile file = ::gzopen(path.c_str(), "wb9");
  if (file == nullptr) return false;
  const int written = ::gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
  return ::gzclose(file) == Z_OK && written == static_cast<int>(text.size());
}

struct Read {
  std::vector<Request> requests;
  std::vector<std::string> functions;
  std::string error, field;
};

Read read_all(const std::string& path, const TraceOptions& options = {}) {
  Read read;
  auto source = open_trace(path, options);
  if (!source) return {{}, {}, source.error().message, source.error().param};
  while (true) {
    auto next = (*source)->next();
    if (!next) {
      read.error = next.error().message;
      read.field = next.error().param;
      break;
    }
    if (!*next) break;
    read.requests.push_back(**next);
  }
  read.functions = (*source)->functions();
  return read;
}

class Traces : public ::testing::Test {
 protected:
  Traces() : folder_(::testing::TempDir() + "glowplug-traces-XXXXXX") {
    if (::mkdtemp(folder_.data()) == nullptr) ADD_FAILURE() << "cannot make " << folder_;
  }
  ~Traces() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  std::string file(const std::string& text, const std::string& name = "trace.csv") {
    const std::string path = folder_ + "/" + name;
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }
  // What is wrong with these rows under our own head.
  Read own(const std::string& rows, const TraceOptions& options = {}) {
    return read_all(file("time_s,function,prompt_tokens,output_tokens\n" + rows), options);
  }

  std::string folder_;
};

TEST_F(Traces, Own_IsReadWithNamesAndTenants) {
  const Read read = read_all(sample("own.csv"));
  EXPECT_EQ(read.error, "");
  EXPECT_THAT(read.functions, ElementsAre("chat", "mail", "a, b"));
  ASSERT_EQ(read.requests.size(), 4u);
  EXPECT_EQ(read.requests[0], (Request{0s, 0, 1, 200, 50}));
  EXPECT_EQ(read.requests[1], (Request{500ms, 1, 2, 30, 10}));
  EXPECT_EQ(read.requests[2], (Request{500ms, 0, 1, 10, 5}));
  EXPECT_EQ(read.requests[3], (Request{63'250ms, 2, 0, 1500, 0}));
}

TEST_F(Traces, Compressed_IsReadAlike) {
  EXPECT_EQ(read_all(sample("own.csv.gz")).requests, read_all(sample("own.csv")).requests);
}

TEST_F(Traces, AzureLlm_AcrossMidnightWithCarriageReturns) {
  const Read read = read_all(sample("azure_llm_2023.csv"), {.function = "code"});
  EXPECT_EQ(read.error, "");
  EXPECT_THAT(read.functions, ElementsAre("code"));
  ASSERT_EQ(read.requests.size(), 2u);
  EXPECT_EQ(read.requests[0], (Request{0s, 0, 0, 4808, 10}));
  EXPECT_EQ(read.requests[1], (Request{500'000'100ns, 0, 0, 3180, 8}));
}

// By its beginning the second row, which is written when it ends, comes first.
TEST_F(Traces, AzureFunctions2021_BeginsWhereTheDurationSays) {
  const Read read = read_all(sample("azure_functions_2021.csv"), {.tokens_per_s = 100});
  EXPECT_EQ(read.error, "");
  ASSERT_EQ(read.requests.size(), 3u);
  EXPECT_EQ(read.functions[read.requests[0].function], "appaaaaaaaaa-funccccccccc");
  EXPECT_EQ(read.requests[0].output_tokens, 5500);
  EXPECT_EQ(read.requests[1].at, 6'500ms);
  EXPECT_EQ(read.requests[2].at, 58s);
}

TEST_F(Traces, AzureFunctions2019_SpreadsAMinutesCallsOverIt) {
  const Read read = read_all(sample("azure_functions_2019.csv"));
  EXPECT_EQ(read.error, "");
  ASSERT_EQ(read.requests.size(), 6u);
  EXPECT_LT(read.requests[1].at, 60s);
  EXPECT_GT(read.requests[2].at, 60s);
  EXPECT_THAT(read.functions,
              ElementsAre("appaaaaaaaaa-funcbbbbbbbb", "appaaaaaaaaa-funccccccccc"));
  EXPECT_EQ(read_all(sample("azure_functions_2019.csv")).requests, read.requests);
  EXPECT_NE(read_all(sample("azure_functions_2019.csv"), {.seed = 2}).requests, read.requests);
}

TEST_F(Traces, Mooncake_IsReadInMilliseconds) {
  const Read read = read_all(sample("mooncake.jsonl"));
  EXPECT_EQ(read.error, "");
  ASSERT_EQ(read.requests.size(), 2u);
  EXPECT_EQ(read.requests[1], (Request{3053ms, 0, 0, 6472, 26}));
}

TEST_F(Traces, ServeGen_FillsEachWindowAtItsRate) {
  const Read read = read_all(sample("servegen.csv"));
  EXPECT_EQ(read.error, "");
  EXPECT_THAT(read.functions, ElementsAre("client-3", "client-7"));
  EXPECT_NEAR(static_cast<double>(read.requests.size()), 300 + 60 + 600, 2);
  int of_seven = 0;
  for (const Request& request : read.requests) of_seven += request.function == 1 ? 1 : 0;
  EXPECT_NEAR(of_seven, 600, 1);
  EXPECT_LT(read.requests.back().at, 1800s);
}

TEST_F(Traces, LengthAndShare_AreCut) {
  EXPECT_EQ(read_all(sample("own.csv"), {.length = 1s}).requests.size(), 3u);
  const Read some = read_all(sample("servegen.csv"), {.keep = 0.25});
  EXPECT_NEAR(static_cast<double>(some.requests.size()), 240, 50);
}

TEST_F(Traces, LongSilence_IsNoFault) {
  const Read read = own("0,f,1,1\n8640000,f,1,1\n");
  EXPECT_EQ(read.error, "");
  EXPECT_EQ(read.requests[1].at, 100 * 24h);
}

TEST_F(Traces, BlankLines_ArePassedOver) {
  EXPECT_EQ(own("\n0,f,1,1\n\n  \n1,f,1,1").requests.size(), 2u);
}

TEST_F(Traces, TimeThatGoesBack_NamesTheLineAndTheFix) {
  const Read read = own("5,f,1,1\n7,f,1,1\n6.5,f,1,1\n");
  EXPECT_THAT(read.error,
              AllOf(HasSubstr("trace.csv:4: the time goes back by 500.0 ms"), HasSubstr("--sort")));
  EXPECT_EQ(read.requests.size(), 2u);
}

TEST_F(Traces, TimeThatGoesBack_IsPutInOrderWithinTheWindow) {
  const Read read = own("5,f,1,1\n7,f,2,1\n6.5,f,3,1\n4.5,f,4,1\n20,f,5,1\n", {.sort = 3s});
  EXPECT_EQ(read.error, "");
  ASSERT_EQ(read.requests.size(), 5u);
  EXPECT_EQ(read.requests[0].prompt_tokens, 4);
  EXPECT_EQ(read.requests[2].at, 2s);
  EXPECT_EQ(read.requests[2].prompt_tokens, 3);
  EXPECT_THAT(own("5,f,1,1\n20,f,2,1\n4,f,3,1\n", {.sort = 3s}).error, HasSubstr(":4: the time"));
}

TEST_F(Traces, BadFields_AreNamedWithTheirLine) {
  const struct {
    const char* rows;
    const char* field;
    const char* said;
  } cases[] = {
      {"0,f,-1,1\n", "prompt_tokens", ":2: `prompt_tokens` must lie between 0 and"},
      {"0,f,1,1\n0,f,1,-5\n", "output_tokens", ":3: `output_tokens` must lie between 0 and"},
      {"nan,f,1,1\n", "time_s", ":2: `time_s` must be a number, not 'nan'"},
      {"inf,f,1,1\n", "time_s", ":2: `time_s` must be a number"},
      {"-1,f,1,1\n", "time_s", ":2: `time_s` must lie between"},
      {"soon,f,1,1\n", "time_s", ":2: `time_s` must be a number, not 'soon'"},
      {"0,f,1.5,1\n", "prompt_tokens", ":2: `prompt_tokens` must be a whole number, not 1.5"},
      {"0,f,,1\n", "prompt_tokens", ":2: `prompt_tokens` must be a number, not ''"},
      {"0,f,99999999999,1\n", "prompt_tokens", "must lie between 0 and 10000000"},
      {"0,,1,1\n", "function", ":2: `function` must be a name"},
      {"0,f,1\n", "", ":2: the row has 3 fields and the head 4"},
      {"0,\"f,1,1\n", "", ":2: a quote does not end"},
      {"0,f,1,1\n40000000,f,1,1\n", "time", ":3: the trace is longer than 366 days"},
  };
  for (const auto& [rows, field, said] : cases) {
    const Read read = own(rows);
    EXPECT_THAT(read.error, HasSubstr(said)) << rows;
    EXPECT_EQ(read.field, field) << rows;
  }
}

TEST_F(Traces, BadFiles_AreNamed) {
  EXPECT_THAT(read_all(folder_ + "/none.csv").error,
              HasSubstr("none.csv' cannot be read: No such"));
  EXPECT_THAT(read_all(folder_).error, HasSubstr("cannot be read: it is a folder"));
  EXPECT_THAT(read_all(file("")).error, HasSubstr("the file is empty"));
  EXPECT_THAT(read_all(file("a,b\n1,2\n")).error,
              AllOf(HasSubstr(":1: no kind of trace has this head"), HasSubstr("time_s,function")));
  const Read missing = read_all(file("time_s,function,prompt_tokens\n0,f,1\n"));
  EXPECT_THAT(missing.error, HasSubstr("there is no column `output_tokens`; the head has time_s"));
  EXPECT_EQ(missing.field, "output_tokens");
  EXPECT_THAT(read_all(file("TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,1,1\n")).error,
              HasSubstr(":2: `TIMESTAMP` must be as 2023-11-16"));
  EXPECT_THAT(read_all(file("{\"timestamp\": 0, \"input_length\": 5}\n")).error,
              HasSubstr(":1: `output_length` is missing"));
  EXPECT_THAT(read_all(file("{\"timestamp\": 0,\n")).error, HasSubstr(":1: this is no JSON"));
  EXPECT_THAT(read_all(file("client,ts_s,rate_rps,cv,pattern,p1,p2\n1,0,1,1,Pareto,1,1\n")).error,
              HasSubstr(":2: `pattern` must be Gamma or Weibull, not 'Pareto'"));
}

TEST_F(Traces, TruncatedGzip_IsToldWithItsLine) {
  std::string rows = "time_s,function,prompt_tokens,output_tokens\n";
  for (int i = 0; i < 20'000; ++i)
    rows += std::to_string(i) + ",f" + std::to_string(i * 7919 % 97) + ",1,1\n";
  const std::string whole = file("", "whole.csv.gz");
  ASSERT_TRUE(write_gzip(whole, rows));
  EXPECT_EQ(read_all(whole).requests.size(), 20'000u);
  const std::string bytes = read_text(whole);
  const Read cut = read_all(file(bytes.substr(0, bytes.size() / 2), "cut.csv.gz"));
  EXPECT_THAT(cut.error, HasSubstr("the file ends in the midst of its compressed data"));
  EXPECT_THAT(cut.error, HasSubstr("cut.csv.gz:" + std::to_string(cut.requests.size() + 2)));
  std::string damaged = bytes;
  damaged[bytes.size() - 5] ^= 0x55;  // of its checksum
  EXPECT_THAT(read_all(file(damaged, "bad.csv.gz")).error, HasSubstr("the file is damaged"));
}

TEST_F(Traces, TooManyFunctionsAndTooLongALine_EndIt) {
  std::string rows;
  for (std::size_t i = 0; i <= domain::kFunctionsMax; ++i)
    rows += "0,f" + std::to_string(i) + ",1,1\n";
  EXPECT_THAT(own(rows).error,
              HasSubstr(":10002: `function`: there are more than 10000 functions"));
  EXPECT_THAT(own("0," + std::string(3 << 20, 'x') + ",1,1\n").error,
              HasSubstr(":2: the line is longer than 1048576 bytes"));
}

// Those that were published, where they are at hand.
TEST(PublicTraces, AreRead) {
  const std::string folder = GLOWPLUG_TRACES;
  if (folder.empty()) GTEST_SKIP() << "GLOWPLUG_TRACES names no folder";
  const struct {
    const char* file;
    std::size_t requests, functions;
  } traces[] = {
      {"azure_llm_2023_code.csv.gz", 8'819, 1},
      {"azure_llm_2023_conv.csv.gz", 19'366, 1},
      {"mooncake_fast25_conversation.jsonl.gz", 12'031, 1},
      {"mooncake_fast25_synthetic.jsonl.gz", 3'993, 1},
      {"azure_functions_2021_sample200.csv.gz", 199, 31},
      {"azure_functions_2019_sample4_invocations.csv.gz", 0, 4},
      {"servegen_reason_deepseek-r1_client_rates.csv.gz", 0, 0},
  };
  for (const auto& [file, requests, functions] : traces) {
    const Read read = read_all(folder + "/" + file, {.keep = requests == 0 ? 0.1 : 1});
    EXPECT_EQ(read.error, "") << file;
    EXPECT_GT(read.requests.size(), 0u) << file;
    if (requests > 0) { EXPECT_EQ(read.requests.size(), requests) << file; }
    if (functions > 0) { EXPECT_EQ(read.functions.size(), functions) << file; }
  }
}

}  // namespace
}  // namespace glowplug::simulate
