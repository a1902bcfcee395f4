#include "app/world_settings.h"

#include <cstdio>
#include <fstream>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

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
  - {name: large, file: 16GB, weights: 15GB, load_s_per_gb: 2}
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
  EXPECT_EQ(simulate::load_time(*world, world->models[0]), 2100ms);
  EXPECT_EQ(simulate::load_time(*world, world->models[1]), 32s);
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

TEST(WorldSettings, ModelsOwnFile_IsFoundBesideTheWorldsFile) {
  const std::string folder = ::testing::TempDir() + "world-" + std::to_string(::getpid());
  ASSERT_EQ(::mkdir(folder.c_str(), 0700), 0);
  const std::string gguf = folder + "/beside.gguf", file = folder + "/world.yaml";
  std::ofstream(gguf, std::ios::binary) << models::TestGguf().bytes();
  std::ofstream(file) << "models: [{name: a, gguf: beside.gguf}]";
  const auto world = read_world_file(file);
  const auto facts = models::read_gguf(gguf);
  std::remove(gguf.c_str());
  std::remove(file.c_str());
  ::rmdir(folder.c_str());
  ASSERT_TRUE(world.ok()) << world.error().message;
  EXPECT_EQ(world->models[0].file_bytes, facts->file_bytes);
}

TEST(WorldSettings, WhatAFunctionSays_LeavesItsNeighboursAsTheyAre) {
  const auto world = read_world(R"(
models: [{name: small}]
function: {slots: 2, scale: {max: 8, policy: threshold, budget: {memory: 4GiB, per_hour: 2}}, limits: {queue: 3}}
functions: {chat: {model: small, scale: {min: 1, budget: {per_hour: 5}}}}
)");
  ASSERT_TRUE(world.ok()) << world.error().message;
  const domain::Manifest chat = manifest_of(*world, "chat");
  EXPECT_EQ(chat.scale.min, 1);
  EXPECT_EQ(chat.scale.max, 8);
  EXPECT_EQ(chat.scale.policy, domain::ScalePolicy::Threshold);
  EXPECT_EQ(chat.scale.budget.per_hour, domain::Money{5'000'000});
  EXPECT_EQ(chat.scale.budget.memory_bytes, std::uint64_t{4} << 30);
  EXPECT_EQ(chat.limits.queue, 3);
  EXPECT_EQ(manifest_of(*world, "another").scale.min, 0);
}

TEST(WorldSettings, FaultOfAll_IsToldOnce_AndOfMany_SomeAre) {
  EXPECT_EQ(fault_of("machine: 5\nfunction: 6\nfunctions: {}"),
            "machine: must be a mapping, not 5; function: must be a mapping, not 6");
  EXPECT_EQ(
      fault_of(
          "models: [{name: a}]\nfunction: {slots: 0}\nfunctions: {x: {model: a}, y: {model: b}}"),
      "function: slots: must be a whole number from 1 to 64, not 0; functions.y.model: must "
      "name one of models, not \"b\"");
  std::string many = "models: [{name: a}]\nfunctions:\n";
  for (int i = 0; i < 1000; ++i) many += "  f" + std::to_string(i) + ": {model: a, slots: 0}\n";
  const std::string told = fault_of(many);
  EXPECT_THAT(told, HasSubstr("functions.f19: slots: "));
  EXPECT_THAT(told, ::testing::EndsWith("; and 980 more"));
  EXPECT_LT(told.size(), 2000u);
}

TEST(WorldSettings, SizesAndRates_HaveBounds) {
  EXPECT_EQ(fault_of("models: [{kv_per_token: 16000000TB}]"),
            "models[0].kv_per_token: must be 1.1 GB at most, not \"16000000TB\"");
  for (const char* size : {"template", "forked", "executed"})
    EXPECT_THAT(fault_of("models: [{" + std::string(size) + ": 2TB}]"),
                HasSubstr("models[0]." + std::string(size) + ": must be 1.1 TB at most"));
  for (const char* size : {"file", "weights"})
    EXPECT_THAT(fault_of("models: [{" + std::string(size) + ": 16000000TB}]"),
                HasSubstr("models[0]." + std::string(size) + ": must be "));
  for (const char* size : {"memory", "template_memory", "page_cache"})
    EXPECT_THAT(fault_of("machine: {" + std::string(size) + ": 16000000TB}"),
                HasSubstr("machine." + std::string(size) + ": must be "));
  EXPECT_THAT(fault_of("models: [{vocabulary: 1000000000}]"), HasSubstr("models[0].vocabulary: "));
  EXPECT_EQ(fault_of("models: [{prefill_tokens_per_s: 1.0e-9}]"),
            "models[0].prefill_tokens_per_s: must be a number from 0.001 to 1000000000, not 1E-9");
  EXPECT_THAT(fault_of("speeds: {T4: 1.0e-12}"),
              HasSubstr("speeds.T4: must be a number from 0.001"));
  for (const char* rate : {"read_mb_per_s", "fetch_mb_per_s", "verify_mb_per_s"})
    EXPECT_THAT(fault_of("transfers: {" + std::string(rate) + ": 1.0e-9}"),
                HasSubstr("transfers." + std::string(rate) + ": must be a number from 0.001"));
  EXPECT_THAT(fault_of("models: [{load_s_per_gb: -1}]"), HasSubstr("models[0].load_s_per_gb: "));
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
