#include "models/tuning_record.h"

#include <boost/json/serialize.hpp>
#include <gtest/gtest.h>

namespace glowplug::models {
namespace {

using namespace domain;

TuneResult result() {
  Figures figures{.prefill = {210.5, 200, 220},
                  .decode = {95, 90, 99.5},
                  .rounds = 3,
                  .load_ms = 400,
                  .private_bytes = 90'000'000,
                  .batch = 64,
                  .repacked = true};
  return {.cores = 2,
          .calls_meanwhile = 1,
          .choice = {.threads = 1, .tuning = {.batch = 128, .repack = Repack::Off}},
          .trials = {{.settings = {2, {}}, .file_type = "", .figures = figures, .error = ""},
                     {.settings = {2, {.kv = KvType::Q8_0}},
                      .file_type = "q4_0",
                      .figures = {},
                      .error = "killed"}},
          .faster_file = FasterFile{"q4_0", "hf:a/b:c.gguf", 1.75}};
}

TEST(TuningRecord, SurvivesWritingAndReading) {
  const auto again = read_tuning_record(write_tuning_record(result()));
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(*again, result());
}

TEST(TuningRecord, SettingsAreInTheWordsOfAManifest) {
  EXPECT_EQ(boost::json::serialize(settings_object({})),
            R"({"threads":"auto","batch":"auto","repack":"auto","kv":"auto"})");
}

TEST(TuningRecord, WhatIsNoRecordIsRefused) {
  for (const char* text :
       {"", "[]", "{}", R"({"cores":2})", R"({"cores":0,"trials":[]})", "nonsense"})
    EXPECT_FALSE(read_tuning_record(text).ok()) << text;
}

TEST(MeasuredLine, IsReadAndNonsenseIsRefused) {
  const auto read = read_measured_line(
      R"({"measured":{"prefill":{"median":200,"low":1,"high":300},"decode":{"median":50},)"
      R"("rounds":2,"load_ms":12.5,"private_bytes":1000,"batch":64,"repacked":true}})");
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->prefill.high, 300);
  EXPECT_EQ(read->decode.median, 50);
  EXPECT_TRUE(read->repacked);
  for (const char* line : {"", "{}", R"({"measured":3})", R"({"measured":{"rounds":0}})",
                           R"({"measured":{"rounds":1,"prefill":{"median":-5}}})",
                           R"({"measured":{"rounds":1,"prefill":{"median":"fast"}}})"})
    EXPECT_FALSE(read_measured_line(line).ok()) << line;
}

}  // namespace
}  // namespace glowplug::models
