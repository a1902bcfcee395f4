#include "models/manifest_reader.h"

#include <algorithm>
#include <fstream>
#include <sstream>

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.h"
#include "models/catalogue.h"
#include "models/model_source.h"
#include "models/yaml_document.h"

namespace glowplug::models {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using namespace std::chrono_literals;

constexpr const char* kFull = R"(
apiVersion: glowplug.dev/v1
kind: Function
name: chat
model: {source: smollm2, sha256: B179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53}
task: generate
engine: llama
context: 4096
slots: 8
scale: {min: 1, max: 3, min_template: 1, policy: threshold}
schedule:
  - {days: "mon-wed,sun", from: "22:00", until: "06:30", tier: replica, count: 3}
  - {from: "08:00", until: "09:00", tier: template}
keep_alive: 90s
prime: ["You are a helpful assistant."]
chat_template: builtin
limits: {queue: 5, queue_timeout: 30s, timeout: 10m, max_tokens: 100}
resources: {memory: 2GiB, device: auto, threads: 2}
priority: high
share: function
failover: off
tuning: {batch: 256, repack: off, kv: q8_0}
)";

std::string fault_of(const std::string& text, const std::string& name = "f") {
  const auto manifest = read_manifest(text, name);
  if (manifest.ok()) return "accepted";
  EXPECT_EQ(manifest.error().code, "manifest_invalid");
  return manifest.error().message;
}

TEST(ManifestReader, FullYaml_IsReadAndWrittenBackEqual) {
  const auto manifest = read_manifest(kFull, "");
  ASSERT_TRUE(manifest.ok()) << manifest.error().message;
  EXPECT_EQ(manifest->name, "chat");
  EXPECT_EQ(manifest->model_sha256.substr(0, 4), "b179");
  EXPECT_EQ(manifest->keep_alive, 90s);
  EXPECT_EQ(manifest->resources.memory_bytes, std::uint64_t{2} << 30);
  EXPECT_EQ(manifest->failover, domain::Failover::Off);
  EXPECT_EQ(manifest->scale.min_template, 1);
  ASSERT_EQ(manifest->schedule.size(), 2u);
  EXPECT_EQ(manifest->schedule[0],
            (domain::ScheduledHold{0b1000111, 22 * 60, 6 * 60 + 30, domain::Tier::Replica, 3}));
  EXPECT_EQ(manifest->tuning, (domain::Tuning{256, domain::Repack::Off, domain::KvType::Q8_0}));
  const auto again = read_manifest(write_manifest(*manifest), "chat");
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(*again, *manifest);
}

TEST(ManifestReader, EveryEngineForm_SurvivesWritingAndReading) {
  for (const std::string engine :
       {"model: smollm2", "engine: fake", "engine: {fake: {fault: \"crash_on_prompt:a b: c\"}}",
        "engine: {fake: {load_time: 5ms, tokens_per_second: 12.5, fault: \"hang_after_tokens:3\"}}",
        "engine: {process: {command: [python3, app.py, \"{port}\"], ready: /up, env: {A: \"1\"}, "
        "start_timeout: 2m}}",
        "engine: {process: {command: [vllm], sleep: {kind: vllm, level: 2, after: 1500ms, "
        "timeout: 3m}}}",
        "engine: {process: {command: [sglang], sleep: {kind: sglang, after: 0.5}}}\nkeep_alive: -1",
        "engine: fake\nkeep_alive: -1", "engine: fake\nkeep_alive: 0",
        "engine: fake\nkeep_alive: 1.5"}) {
    const auto manifest = read_manifest(engine, "f");
    ASSERT_TRUE(manifest.ok()) << engine << ": " << manifest.error().message;
    const auto again = read_manifest(write_manifest(*manifest), "f");
    ASSERT_TRUE(again.ok()) << again.error().message;
    EXPECT_EQ(*again, *manifest) << engine;
  }
}

TEST(ManifestReader, TuningThatCannotWork_NamesTheFieldAndTheFix) {
  const std::string fake = "engine: fake\n";
  EXPECT_THAT(fault_of(fake + "tuning: {repak: on}"),
              AllOf(HasSubstr("tuning.repak"), HasSubstr("repack")));
  EXPECT_THAT(fault_of(fake + "tuning: {kv: q4_0}"), HasSubstr("tuning.kv"));
  EXPECT_THAT(fault_of(fake + "tuning: {batch: many}"), HasSubstr("auto or a whole number"));
  EXPECT_THAT(fault_of(fake + "prime: [\"\"]"), HasSubstr("prime[0]: is empty"));
  EXPECT_THAT(fault_of(fake + "context: 16\nprime: [a, " + std::string(16 * 16 + 1, 'x') + "]"),
              HasSubstr("prime[1]: has 257 bytes"));
  EXPECT_THAT(fault_of(fake + "tuning: {batch: 4097}"), HasSubstr("tuning.batch"));
  EXPECT_THAT(fault_of(fake + "slots: 8\ntuning: {batch: 11}"),
              AllOf(HasSubstr("tuning.batch: is 11"), HasSubstr("12 and more")));
  EXPECT_THAT(fault_of(fake + "task: embed\ntuning: {batch: 64, kv: q8_0}"),
              AllOf(HasSubstr("tuning.batch: must be auto"), HasSubstr("tuning.kv: q8_0 is for")));
  EXPECT_THAT(fault_of("engine: {process: {command: [a]}}\ntuning: {repack: off}"),
              HasSubstr("tuning: is for the built-in engine"));
  EXPECT_EQ(fault_of(fake + "tuning: {batch: auto, repack: auto, kv: f16}"), "accepted");
  EXPECT_EQ(fault_of("engine: {process: {command: [a]}}\ntuning: {batch: auto}"), "accepted");
}

TEST(ManifestReader, ScheduleThatCannotWork_NamesTheHoldAndTheFix) {
  const auto fault = [](const std::string& hold, const std::string& more = "template: on\n") {
    return fault_of("engine: fake\n" + more + "schedule: [" + hold + "]");
  };
  EXPECT_EQ(fault(R"({days: "fri-mon", from: "23:59", until: "00:00", tier: template})"),
            "accepted");
  EXPECT_THAT(fault(R"({from: "8:30", until: "09:00"})"), HasSubstr("schedule[0].from: must be"));
  EXPECT_THAT(fault(R"({from: "24:00", until: "09:60"})"),
              AllOf(HasSubstr("schedule[0].from"), HasSubstr("schedule[0].until")));
  EXPECT_THAT(fault(R"({from: "08:30"})"), HasSubstr("schedule[0].until: is missing"));
  EXPECT_THAT(fault(R"({days: "mon-", from: "01:00", until: "02:00"})"),
              HasSubstr("schedule[0].days: must be days such as mon-fri"));
  EXPECT_THAT(fault(R"({dais: mon, from: "01:00", until: "02:00"})"),
              HasSubstr("schedule[0].dais: unknown key; did you mean \"days\"?"));
  EXPECT_THAT(fault(R"({from: "01:00", until: "02:00", tier: template, count: 2})"),
              HasSubstr("schedule[0].count: is for tier replica"));
  EXPECT_THAT(fault(R"({from: "01:00", until: "02:00", count: 3})", "scale: {max: 2}\n"),
              HasSubstr("schedule[0].count: is 3, more than scale.max"));
  EXPECT_THAT(fault(R"({from: "01:00", until: "02:00", tier: template})", "template: off\n"),
              HasSubstr("schedule[0].tier: asks for a template"));
  EXPECT_THAT(fault("5"), HasSubstr("schedule[0]: must be a mapping"));
  EXPECT_THAT(fault_of("engine: fake\nschedule: {from: 1}"), HasSubstr("schedule: must be a list"));
  EXPECT_THAT(fault_of("engine: {process: {command: [a]}}\nscale: {min_template: 1}"),
              HasSubstr("scale.min_template: asks for a template"));
  EXPECT_THAT(fault_of("engine: fake\ntemplate: on\nscale: {min_template: 2}"),
              HasSubstr("scale.min_template: must be"));
}

TEST(ManifestReader, Budget_IsReadAndWritten) {
  const auto read = read_manifest(
      "name: f\nengine: fake\nscale: {budget: {memory: 4GiB, per_hour: 2.500001, "
      "per_day: 10}}",
      "f");
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(read->scale.budget,
            (domain::Budget{
                .memory_bytes = 4ull << 30, .per_hour = {2'500'001}, .per_day = {10'000'000}}));
  EXPECT_EQ(*read_manifest(write_manifest(*read), "f"), *read);
  for (const char* whole : {"{}", "null", "{memory: 1048576}", "{per_hour: 0.000001}",
                            "{per_hour: 10000000}", "{memory: 1MiB, per_hour: 1}"})
    EXPECT_EQ(fault_of(std::string("engine: fake\nscale: {budget: ") + whole + "}"), "accepted");
  const auto most =
      read_manifest("name: f\nengine: fake\nscale: {budget: {per_hour: 9999999.999999}}", "f");
  ASSERT_TRUE(most.ok());
  EXPECT_EQ(read_manifest(write_manifest(*most), "f")->scale.budget.per_hour.micros,
            9'999'999'999'999);
}

TEST(ManifestReader, BudgetThatCannotBe_NamesTheFieldAndTheFix) {
  const auto fault = [](const std::string& budget, const std::string& more = "") {
    return fault_of("engine: fake\n" + more + "scale: {budget: " + budget + "}");
  };
  for (const char* bad : {"-1", "0", "\"2.5\"", "much", "0.0000001", "1.0000005", "10000000.1",
                          ".nan", ".inf", "true", "[1]", "1e99"})
    EXPECT_THAT(fault(std::string("{per_hour: ") + bad + "}"),
                HasSubstr("scale.budget.per_hour: must be a number above 0 and up to 10000000 with "
                          "six decimals at most, as 2.5"))
        << bad;
  for (const char* bad : {"-1", "0", "4", "4GX", "much", "1023KiB", "0.5", "true", "{}", "auto"})
    EXPECT_THAT(fault(std::string("{memory: ") + bad + "}"),
                HasSubstr("scale.budget.memory: must be a size such as \"4GiB\", at least 1MiB"))
        << bad;
  EXPECT_THAT(fault("{per_day: 0}"), HasSubstr("scale.budget.per_day: must be a number above 0"));
  EXPECT_THAT(fault("{money: 5}"), HasSubstr("scale.budget.money: unknown key"));
  EXPECT_THAT(fault("5"), HasSubstr("scale.budget: must be a mapping, as {memory: 4GiB, per_hour"));
  EXPECT_THAT(fault("{memory: 1GiB}", "resources: {memory: 2GiB}\n"),
              HasSubstr("scale.budget.memory: is 1.1 GB, and one replica takes the 2.1 GB of "
                        "resources.memory"));
  EXPECT_EQ(fault("{memory: 2GiB}", "resources: {memory: 2GiB}\n"), "accepted");
}

TEST(ManifestReader, SleepThatCannotWork_NamesTheFieldAndTheFix) {
  const auto fault = [](const std::string& sleep, const std::string& more = "") {
    return fault_of("engine: {process: {command: [a], sleep: " + sleep + "}}\n" + more);
  };
  EXPECT_EQ(fault("{kind: vllm}"), "accepted");
  EXPECT_EQ(fault("{kind: vllm, after: 10s}", "keep_alive: 11s"), "accepted");
  EXPECT_THAT(fault("{after: 1s}"), HasSubstr("engine.process.sleep.kind: is missing"));
  EXPECT_THAT(fault("{kind: trt}"), HasSubstr("engine.process.sleep.kind"));
  EXPECT_THAT(fault("{kind: vllm, level: 3}"), HasSubstr("engine.process.sleep.level"));
  EXPECT_THAT(fault("{kind: sglang, level: 1}"), HasSubstr("sleep.level: is vLLM's"));
  EXPECT_THAT(fault("{kind: vllm, timeout: 1ms}"), HasSubstr("engine.process.sleep.timeout"));
  EXPECT_THAT(fault("{kind: vllm, afer: 1s}"), HasSubstr("did you mean \"after\""));
  EXPECT_THAT(fault("yes"), HasSubstr("engine.process.sleep: must be a mapping"));
  EXPECT_THAT(fault("{kind: vllm, after: 5m}"),  // keep_alive is 5m unless said otherwise
              AllOf(HasSubstr("engine.process.sleep.after: is 5m"), HasSubstr("keep_alive")));
  EXPECT_THAT(fault("{kind: vllm, after: 1s}", "keep_alive: 1s"), HasSubstr("sleep.after: is 1"));
  EXPECT_THAT(fault("{kind: vllm, after: 0}"), HasSubstr("engine.process.sleep.after: must be"));
}

TEST(ManifestReader, KeepAliveForever_IsWrittenAsMinusOne) {
  const auto manifest = read_manifest("{engine: fake, keep_alive: -1}", "f");
  ASSERT_TRUE(manifest.ok());
  EXPECT_EQ(manifest->keep_alive, kForever);
  EXPECT_THAT(write_manifest(*manifest), HasSubstr("\"keep_alive\":-1"));
}

TEST(ManifestReader, SeveralFaults_AreAllListed) {
  EXPECT_THAT(
      fault_of("engine: {process: {}}\ncontxt: 5\nslots: 65\nscale: {min: 3, max: 2}\nlimits: "
               "{queue: lots}"),
      AllOf(HasSubstr("contxt: unknown key; did you mean \"context\"?"),
            HasSubstr("slots: must be"), HasSubstr("scale.min: is 3"),
            HasSubstr("limits.queue: must be"), HasSubstr("engine.process.command: must be")));
}

TEST(ManifestReader, SingleFaults_NameFieldAndFix) {
  EXPECT_THAT(fault_of("engine: llama"), HasSubstr("model: is missing"));
  EXPECT_THAT(fault_of("model: smolm2"), HasSubstr("did you mean \"smollm2\""));
  EXPECT_THAT(fault_of("engine: fake\nname: Big"), HasSubstr("name: \"Big\" is not a name"));
  EXPECT_THAT(fault_of("engine: fake\nname: other"), HasSubstr("address names \"f\""));
  EXPECT_THAT(fault_of("engine: fake", ""), HasSubstr("name: is missing"));
  EXPECT_THAT(fault_of("engine: fake\nkind: Pod"), HasSubstr("kind: must be Function"));
  EXPECT_THAT(fault_of("engine: fake\nkeep_alive: soon"),
              HasSubstr("keep_alive: must be a duration"));
  EXPECT_THAT(fault_of("engine: {fake: {fault: explode}}"), HasSubstr("engine.fake.fault"));
  EXPECT_THAT(fault_of("engine: fake\nscale: {max: 21}"),
              HasSubstr("scale.max: must be a whole number from 1 to 20"));
  EXPECT_THAT(fault_of("engine: process"), HasSubstr("command"));
  EXPECT_THAT(fault_of("- a"), HasSubstr("a manifest is a mapping"));
}

TEST(ManifestReader, SmallestContextAndLimits_AreTheirOwn) {
  EXPECT_EQ(fault_of("model: smollm2\ncontext: 16\nlimits: {max_tokens: 1}\n"), "accepted");
  EXPECT_NE(fault_of("model: smollm2\ncontext: 15\n").find("context"), std::string::npos);
}

TEST(ManifestReader, HostileText_IsRefused) {
  EXPECT_THAT(fault_of("a: &x [1]\nb: *x"), HasSubstr("anchors"));
  EXPECT_THAT(fault_of("slots: 1\nslots: 2"), HasSubstr("appears twice"));
  EXPECT_THAT(fault_of("{\"slots\": 1, \"slots\": 2}"), HasSubstr("appears twice"));
  EXPECT_THAT(fault_of("a: !!python/object x"), HasSubstr("tags"));
  EXPECT_THAT(fault_of("a: 1\n---\nb: 2"), HasSubstr("more than one document"));
  EXPECT_THAT(fault_of(std::string(100'000, '[')), HasSubstr("nested deeper"));
  EXPECT_THAT(fault_of(std::string(100'000, '{')), HasSubstr("nested deeper"));
  EXPECT_THAT(fault_of(std::string(300'000, ' ')), HasSubstr("bytes; at most"));
  EXPECT_THAT(fault_of("a: [1"), HasSubstr("line "));
  EXPECT_THAT(fault_of(""), HasSubstr("the text is empty"));
  EXPECT_THAT(fault_of("# nothing"), HasSubstr("all comment"));
}

// The schema's keys at a path such as "engine.process", found through properties and oneOf.
void collect(const boost::json::value& schema, const std::string& path,
             std::map<std::string, std::vector<std::string>>& out) {
  if (!schema.is_object()) return;
  const auto& object = schema.get_object();
  if (const auto* forms = object.if_contains("oneOf"))
    for (const auto& form : forms->as_array()) collect(form, path, out);
  const auto* properties = object.if_contains("properties");
  if (properties == nullptr) return;
  for (const auto& member : properties->as_object()) {
    const std::string key(member.key());
    out[path].push_back(key);
    EXPECT_TRUE(member.value().as_object().contains("description")) << path << "." << key;
    collect(member.value(), path.empty() ? key : path + "." + key, out);
  }
}

TEST(Catalogue, VariantsAreSourcesOfAnotherTypeOfTheSameModel) {
  int variants = 0;
  for (const CatalogueEntry& entry : catalogue())
    for (const CatalogueVariant& variant : entry.variants) {
      ++variants;
      EXPECT_TRUE(parse_source(variant.source).ok()) << variant.source;
      EXPECT_NE(variant.file_type, "") << entry.name;
      EXPECT_THAT(entry.sources, ::testing::Not(::testing::Contains(variant.source)));
    }
  EXPECT_GE(variants, 4);
}

TEST(ManifestSchema, HasExactlyTheKeysTheReaderKnows) {
  std::ifstream file(GLOWPLUG_SCHEMA);
  std::stringstream text;
  text << file.rdbuf();
  std::map<std::string, std::vector<std::string>> published;
  collect(boost::json::parse(text.str()), "", published);
  std::map<std::string, std::vector<std::string>> known;
  for (const auto& [path, keys] : manifest_keys()) known[path].assign(keys.begin(), keys.end());
  for (auto* keys : {&published, &known})
    for (auto& [path, names] : *keys) std::sort(names.begin(), names.end());
  EXPECT_EQ(published, known);
}

TEST(Catalogue, EveryEntry_IsUsable) {
  EXPECT_GE(catalogue().size(), 12u);
  for (const CatalogueEntry& entry : catalogue()) {
    EXPECT_FALSE(entry.title.empty() || entry.licence.empty() || entry.file.empty()) << entry.name;
    EXPECT_GT(entry.context, 0) << entry.name;
    EXPECT_EQ(entry.verified, entry.sha256.size() == 64 && entry.bytes > 0) << entry.name;
    EXPECT_FALSE(entry.sources.empty()) << entry.name;
    for (const std::string& source : entry.sources)
      EXPECT_TRUE(parse_catalogue_source(source).ok()) << source;
    EXPECT_EQ(parse_source(entry.name)->kind, SourceKind::Catalogue);
  }
}

TEST(ModelSource, Forms_AreClassified) {
  EXPECT_EQ(parse_source("./a.gguf")->kind, SourceKind::File);
  const auto hub = parse_source("hf:org/repo:dir/file.gguf@v1");
  ASSERT_TRUE(hub.ok());
  EXPECT_EQ(hub->repository, "org/repo");
  EXPECT_EQ(hub->file, "dir/file.gguf");
  EXPECT_EQ(hub->revision, "v1");
  EXPECT_EQ(parse_source("https://example.org/a.gguf")->kind, SourceKind::Url);
  EXPECT_TRUE(parse_source("http://127.0.0.1:80/a.gguf").ok());
  for (const char* bad :
       {"", "http://example.org/a.gguf", "https://user@host/a", "http://127.0.0.1@evil/a",
        "hf:org/repo", "hf:org:file.gguf", "hf:org/repo:../x.gguf", "hf:org/repo:readme.md",
        "wheel:a==1:*", "nonsense", "http://127.0.0.1.evil.org/a", "a\nb.gguf"})
    EXPECT_EQ(parse_source(bad).ok() ? "accepted" : parse_source(bad).error().code,
              "model_rejected")
        << bad;
}

}  // namespace
}  // namespace glowplug::models
