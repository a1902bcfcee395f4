#include "runtime/launch_plan.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace glowplug::runtime {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

const LaunchPlaces kPlaces{"/bin/true", "/run/gp", "http://127.0.0.1:4569", "/templates"};

control::StartProcess start_of(domain::EngineKind kind) {
  control::StartProcess start{.process = {7}, .threads = 3};
  start.manifest.name = "echo";
  start.manifest.engine.kind = kind;
  return start;
}

std::string after(const std::vector<std::string>& argv, const std::string& option) {
  const auto at = std::find(argv.begin(), argv.end(), option);
  return at == argv.end() || at + 1 == argv.end() ? "" : *(at + 1);
}

TEST(LaunchPlan, Llama_RunsTheWorkerOnItsSocket) {
  control::StartProcess start = start_of(domain::EngineKind::Llama);
  start.facts.path = "/m.gguf";
  const Result<LaunchPlan> plan = plan_launch(start, kPlaces, {}, 0);
  ASSERT_TRUE(plan);
  EXPECT_THAT(plan->argv,
              ElementsAre("/bin/true", "--protocol", "4", "--engine", "llama", "--socket",
                          "/run/gp/7/r.sock", "--control-fd", "3", "--lifeline-fd", "4", "--task",
                          "generate", "--context", "2048", "--slots", "4", "--threads", "3",
                          "--cores", "3", "--model", "/m.gguf"));
  EXPECT_EQ(plan->folder, "/run/gp/7");
  EXPECT_EQ(plan->endpoint.socket_path, "/run/gp/7/r.sock");
  EXPECT_EQ(plan->readiness, Readiness::ControlChannel);
}

TEST(LaunchPlan, MoreCoresThanThreads_AreSaidToo) {
  control::StartProcess start = start_of(domain::EngineKind::Llama);
  start.cores = 8;
  const Result<LaunchPlan> plan = plan_launch(start, kPlaces, {}, 0);
  EXPECT_EQ(after(plan->argv, "--threads"), "3");
  EXPECT_EQ(after(plan->argv, "--cores"), "8");
  EXPECT_EQ(plan->cores, 8);
}

TEST(LaunchPlan, ChatTemplate_NameIsShippedAndPathIsItself) {
  control::StartProcess start = start_of(domain::EngineKind::Llama);
  const auto file = [&start] {
    return after(plan_launch(start, kPlaces, {}, 0)->argv, "--chat-template-file");
  };
  EXPECT_EQ(file(), "");
  start.manifest.chat_template = "tools";
  EXPECT_EQ(file(), "/templates/tools.jinja");
  start.manifest.chat_template = "mine.jinja";
  EXPECT_EQ(file(), "mine.jinja");
  start.manifest.chat_template = "/x/mine";
  EXPECT_EQ(file(), "/x/mine");
}

TEST(LaunchPlan, ChatTemplateThatCannotBeRead_IsRefusedWithWhatToWrite) {
  std::string folder = ::testing::TempDir() + "glowplug-templates-XXXXXX";
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  domain::Manifest manifest;
  const auto fault = [&manifest, &folder](const std::string& chat_template) {
    manifest.chat_template = chat_template;
    const Result<void> checked = check_chat_template(manifest, folder);
    return checked ? "" : checked.error().message;
  };
  std::ofstream(folder + "/tools.jinja") << "{{ messages }}";
  std::ofstream(folder + "/empty.jinja") << "";
  EXPECT_EQ(fault("builtin"), "");
  EXPECT_EQ(fault("tools"), "");
  EXPECT_EQ(fault(folder + "/tools.jinja"), "");
  EXPECT_THAT(fault("tolls"), HasSubstr("chat_template: there is no template \"tolls\""));
  EXPECT_THAT(fault("mine.jinja"), HasSubstr("no absolute path"));
  EXPECT_THAT(fault(folder + "/gone"), HasSubstr("finds no file"));
  EXPECT_THAT(fault(folder), HasSubstr("is no text of"));
  EXPECT_THAT(fault(folder + "/empty.jinja"), HasSubstr("is no text of"));
  manifest.engine.kind = domain::EngineKind::Fake;
  EXPECT_EQ(fault("tolls"), "");
  std::filesystem::remove_all(folder);
}

TEST(LaunchPlan, EngineSettings_ArePassedWhereTheyAreNotAuto) {
  control::StartProcess start = start_of(domain::EngineKind::Llama);
  start.facts.path = "/m.gguf";
  start.manifest.tuning = {128, domain::Repack::Off, domain::KvType::Q8_0};
  const std::vector<std::string> argv = plan_launch(start, kPlaces, {}, 0)->argv;
  EXPECT_EQ(after(argv, "--batch"), "128");
  EXPECT_EQ(after(argv, "--repack"), "off");
  EXPECT_EQ(after(argv, "--kv"), "q8_0");
  EXPECT_THAT(argv, Not(Contains("--role")));
}

TEST(LaunchPlan, ReplicaStartedAhead_IsWarmed) {
  control::StartProcess start = start_of(domain::EngineKind::Llama);
  EXPECT_THAT(plan_launch(start, kPlaces, {}, 0)->argv, Not(Contains("--warm")));
  start.ahead = true;
  EXPECT_EQ(after(plan_launch(start, kPlaces, {}, 0)->argv, "--warm"), "yes");
}

TEST(LaunchPlan, Measure_IsARoleAndMayNameAFileType) {
  control::StartProcess start = start_of(domain::EngineKind::Llama);
  start.role = control::Role::Measure;
  start.file_type = "q4_0";
  const std::vector<std::string> argv = plan_launch(start, kPlaces, {}, 0)->argv;
  EXPECT_EQ(after(argv, "--role"), "measure");
  EXPECT_EQ(after(argv, "--file-type"), "q4_0");
  EXPECT_THAT(argv, Not(Contains("--batch")));
}

TEST(LaunchPlan, Fake_PassesWhatItPretends) {
  control::StartProcess start = start_of(domain::EngineKind::Fake);
  start.manifest.engine.fake.tokens_per_second = 12.5;
  start.manifest.engine.fake.fault = "never_ready";
  const Result<LaunchPlan> plan = plan_launch(start, kPlaces, {}, 0);
  EXPECT_EQ(after(plan->argv, "--fake-load-ms"), "20");
  EXPECT_EQ(after(plan->argv, "--fake-tokens-per-second"), "12.5");
  EXPECT_EQ(after(plan->argv, "--fake-fault"), "never_ready");
  EXPECT_THAT(plan->argv, Not(Contains("--model")));
}

TEST(LaunchPlan, Environment_IsMinimalAndTheManifestsOwn) {
  control::StartProcess start = start_of(domain::EngineKind::Process);
  start.manifest.engine.process.command = {"sh", "-c", "x"};
  start.manifest.engine.process.env = {{"URL", "{url}"}, {"LANG", "de"}};
  const Result<LaunchPlan> plan = plan_launch(start, kPlaces, {.path = "/bin", .home = "/h"}, 4000);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->program, "/bin/sh");
  EXPECT_THAT(plan->env, ElementsAre("GLOWPLUG_REPLICA=/run/gp/7", "HOME=/h", "LANG=de",
                                     "PATH=/bin", "URL=http://127.0.0.1:4569"));
}

TEST(LaunchPlan, Gpus_AreTheOnlyOnesItSees_WhereTheyAreNamed) {
  control::StartProcess start = start_of(domain::EngineKind::Llama);
  const auto variable = [&start]() -> std::string {
    const auto plan = plan_launch(start, kPlaces, {}, 0);
    for (const std::string& one : plan->env)
      if (one.starts_with("CUDA_VISIBLE_DEVICES=")) return one;
    return "";
  };
  EXPECT_EQ(variable(), "");
  start.gpus = "GPU-1,GPU-2";
  EXPECT_EQ(variable(), "CUDA_VISIBLE_DEVICES=GPU-1,GPU-2");
  start.gpus = "";
  EXPECT_EQ(variable(), "CUDA_VISIBLE_DEVICES=");
}

TEST(LaunchPlan, Placeholders_AreReplacedOnceAndUnknownOnesStay) {
  control::StartProcess start = start_of(domain::EngineKind::Process);
  start.facts.path = "/{port}/m";
  start.manifest.engine.process.command = {"/bin/sh",    "{model}", "{port}{slots}-{context}",
                                           "{\"a\":{}}", "{x",      "{threads}"};
  const Result<LaunchPlan> plan = plan_launch(start, kPlaces, {}, 4000);
  ASSERT_TRUE(plan);
  EXPECT_THAT(plan->argv,
              ElementsAre("/bin/sh", "/{port}/m", "40004-2048", "{\"a\":{}}", "{x", "3"));
  EXPECT_EQ(plan->endpoint.port, 4000);
  EXPECT_EQ(plan->endpoint.socket_path, "");
  EXPECT_EQ(plan->readiness, Readiness::Http);
}

TEST(LaunchPlan, SocketMentionedAnywhere_NoPortIsWanted) {
  control::StartProcess start = start_of(domain::EngineKind::Process);
  start.manifest.engine.process.command = {"/bin/sh"};
  EXPECT_TRUE(wants_port(start.manifest));
  start.manifest.engine.process.env = {{"LISTEN", "unix:{socket}"}};
  EXPECT_FALSE(wants_port(start.manifest));
  EXPECT_EQ(plan_launch(start, kPlaces, {}, 0)->endpoint.socket_path, "/run/gp/7/r.sock");
  EXPECT_FALSE(wants_port(start_of(domain::EngineKind::Llama).manifest));
}

TEST(LaunchPlan, MissingCommand_SaysWhichOfWhichFunction) {
  control::StartProcess start = start_of(domain::EngineKind::Process);
  start.manifest.engine.process.command = {"no-such-program"};
  const Result<LaunchPlan> plan = plan_launch(start, kPlaces, {}, 1);
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code, "function_failed");
  EXPECT_EQ(plan.error().message,
            "command 'no-such-program' of function 'echo' does not exist or is not executable");
}

TEST(LaunchPlan, LongRunFolder_IsNamed) {
  LaunchPlaces places = kPlaces;
  places.run_dir = "/" + std::string(97, 'r');  // 98 + "/7/r.sock" = 107 bytes, the most that fits
  EXPECT_TRUE(plan_launch(start_of(domain::EngineKind::Fake), places, {}, 0));
  places.run_dir += "r";
  const Result<LaunchPlan> plan = plan_launch(start_of(domain::EngineKind::Fake), places, {}, 0);
  ASSERT_FALSE(plan);
  EXPECT_THAT(plan.error().message, HasSubstr(places.run_dir));
}

TEST(LaunchPlan, FolderOrTextFile_IsNoProgram) {
  EXPECT_FALSE(find_program("/tmp", ""));
  EXPECT_FALSE(find_program("/etc/passwd", ""));
  EXPECT_FALSE(find_program("", "/bin"));
  EXPECT_EQ(find_program("sh", "/nowhere:/bin"), "/bin/sh");
}

}  // namespace
}  // namespace glowplug::runtime
