#include "app/world_settings.h"

#include <cstdio>
#include <fstream>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/gguf_reader.h"
#include "models/test_gguf.h"

namespace glowplug::app {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

std::string fault_of(const std::string& text) {
  const auto read = read_world(text);
  return read ? "" : read.error().message;
}

TEST(WorldSettings, WhatIsNotNamed_StaysAsMeasured) {
  const auto world = read_world("gateway: 1ms\n");
  ASSERT_TRUE(world.ok()) << world.error().message;
  EXPECT_EQ(world->gateway, 1ms);
  EXPECT_EQ(world->machine, simulate::Machine{});
  EXPECT_EQ(world->models, std::vector<simulate::ModelProfile>{simulate::ModelProfile{}});
}

TEST(WorldSettings, Everything_IsRead) {
  const auto world = read_world(R"(
machine: {memory: 80GB, page_cache: 1GB, spares: 2, cores: 16, device: A100, budget_per_hour: 12.5}
models:
  - {name: small, share: 3, file: 1GB, kv_per_token: 100000, threads: 0, prefill_tokens_per_s: 9000, step: 0.5ms,
     step_stream: 0ms, step_mixed: 20ms, template: 2GB, forked: 100MB, executed: 3GB, vocabulary: 128000}
  - {name: large, file: 16GB, weights: 15GB}
files: shared
starts: {exec: 2s, load_s_per_gb: 0.1, load_threads: 4, fork: 10ms, hand_over: 1ms, first_call: 0ms, stop: 1s,
         kill: 1ms, sleep: 2s, wake: 3s, jitter: 0}
transfers: {read_mb_per_s: 3000, fetch_mb_per_s: 500, verify_mb_per_s: 2000}
function: {context: 8192, slots: 16, keep_alive: 1m, scale: {max: 5, budget: {per_hour: 4}}}
prices: {A100: {per_hour: 2, per_request: 0}}
)");
  ASSERT_TRUE(world.ok()) << world.error().message;
  EXPECT_EQ(world->machine.memory_bytes, 80'000'000'000u);
  EXPECT_EQ(world->machine.template_bytes, 20'000'000'000u);
  EXPECT_EQ(world->machine.device, "A100");
  EXPECT_EQ(world->machine.budget_per_hour, domain::Money{12'500'000});
  ASSERT_EQ(world->models.size(), 2u);
  EXPECT_EQ(world->models[0].step, 500us);
  EXPECT_EQ(world->models[0].weight_bytes, 1'000'000'000u);
  EXPECT_EQ(world->models[1].weight_bytes, 15'000'000'000u);
  EXPECT_EQ(world->files, simulate::ModelFiles::Shared);
  EXPECT_EQ(world->starts.wake, 3s);
  EXPECT_EQ(world->starts.jitter, 0);
  EXPECT_EQ(world->function.slots, 16);
  EXPECT_EQ(world->function.scale.budget.per_hour, domain::Money{4'000'000});
  EXPECT_EQ(world->function.keep_alive, 1min);
  EXPECT_EQ(domain::find_price(world->prices, "a100")->price.per_hour.micros, 2'000'000);
}

TEST(WorldSettings, FunctionsThatAreToldApart_HaveTheirModelAndWhatTheySay) {
  const auto world = read_world(R"(
models: [{name: small}, {name: large, file: 16GB}]
function: {context: 1024, slots: 2}
functions: {chat: {model: large, slots: 8}, tags: {model: small}}
)");
  ASSERT_TRUE(world.ok()) << world.error().message;
  EXPECT_EQ(profile_of(*world, "chat").name, "large");
  EXPECT_EQ(profile_of(*world, "tags").name, "small");
  const domain::Manifest chat = manifest_of(*world, "chat");
  EXPECT_EQ(chat.name, "chat");
  EXPECT_EQ(chat.model, "large");
  EXPECT_EQ(chat.slots, 8);
  EXPECT_EQ(chat.context, 1024);
  EXPECT_EQ(manifest_of(*world, "tags").slots, 2);
  EXPECT_EQ(manifest_of(*world, "another").slots, 2);
  EXPECT_EQ(fault_of("functions: {a: {model: huge}}"),
            "functions.a.model: must name one of models, not \"huge\"");
  EXPECT_THAT(fault_of("functions: {a: {slots: 2}}"), HasSubstr("functions.a.model: must name"));
  EXPECT_THAT(fault_of("functions: {a: 3}"), HasSubstr("functions.a: must be a mapping, not 3"));
  EXPECT_THAT(fault_of("functions: {a: {model: smollm2-135m-q4_1, slots: 0}}"),
              HasSubstr("functions.a: "));
}

TEST(WorldSettings, ModelsOwnFile_SaysWhatItHolds) {
  const std::string path = ::testing::TempDir() + "world-" + std::to_string(::getpid()) + ".gguf";
  std::ofstream(path, std::ios::binary) << models::TestGguf().bytes();
  const auto world = read_world("models: [{name: a, gguf: \"" + path + "\"}]");
  ASSERT_TRUE(world.ok()) << world.error().message;
  const auto facts = models::read_gguf(path);
  std::remove(path.c_str());
  EXPECT_EQ(world->models[0].file_bytes, facts->file_bytes);
  EXPECT_EQ(world->models[0].weight_bytes, facts->weight_bytes);
  EXPECT_EQ(world->models[0].kv_bytes_per_token, facts->kv_bytes_per_token);
  EXPECT_THAT(fault_of("models: [{gguf: /nowhere.gguf}]"), HasSubstr("models[0].gguf: "));
}

TEST(WorldSettings, Faults_NameTheirField) {
  EXPECT_THAT(fault_of("machine: {cores: 0}"), HasSubstr("machine.cores: "));
  EXPECT_THAT(fault_of("machine: {memory: much}"),
              HasSubstr("machine.memory: must be a size such as 8GiB or 98MB, not \"much\""));
  EXPECT_THAT(fault_of("machine: {device: TPU}"), HasSubstr("machine.device: TPU has no price"));
  EXPECT_THAT(fault_of("machine: {budget_per_hour: 0}"),
              HasSubstr("machine.budget_per_hour: must be a number above 0"));
  EXPECT_THAT(fault_of("machine: 5"), HasSubstr("machine: must be a mapping, not 5"));
  EXPECT_THAT(fault_of("models: []"), HasSubstr("models: must be a list of 1 to 1000 models"));
  EXPECT_THAT(fault_of("models: [{name: a}, {name: a}]"),
              HasSubstr("models[1].name: \"a\" is there already"));
  EXPECT_THAT(fault_of("models: [{share: 0}]"), HasSubstr("models: one of them must have a share"));
  EXPECT_THAT(fault_of("models: [{step: 0ms, step_stream: 0ms}]"), HasSubstr("models[0].step: "));
  EXPECT_THAT(fault_of("starts: {fork: soon}"),
              HasSubstr("starts.fork: must be a duration up to a day such as 4.6ms"));
  EXPECT_THAT(fault_of("starts: {frok: 1ms}"), HasSubstr("fork"));
  EXPECT_THAT(fault_of("function: {slots: 0}"), HasSubstr("function: slots: "));
  EXPECT_THAT(fault_of("function: {name: me}"), HasSubstr("function.name: is given"));
  EXPECT_THAT(fault_of("prices: {CPU: 5}"), HasSubstr("prices.CPU: "));
  EXPECT_THAT(fault_of("[1]"), HasSubstr("the model is a mapping"));
  const auto none = read_world_file("/nowhere/model.yaml");
  EXPECT_THAT(none.error().message, HasSubstr("'/nowhere/model.yaml' cannot be read"));
}

}  // namespace
}  // namespace glowplug::app
