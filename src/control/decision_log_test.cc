#include "control/decision_log.h"

#include <functional>
#include <sstream>

#include <boost/json.hpp>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/fnv.h"
#include "control/log_fields.h"
#include "control/test_world.h"

namespace glowplug::control {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// A brain with its log beside it.
class Logged : public ::testing::Test {
 protected:
  inline static const BrainOptions kOptions{
      .memory_bytes = 1000 * kMB, .template_bytes = 200 * kMB, .cores = 2};

  Logged() : text(log.head(kOptions, {.build = "glowplug \"test\""})) {}

  const Effects& post(const Event& event) {
    now += 10ms;
    effects = brain.handle(event, now, WallTime(1234ms));
    if (change) change(effects);
    text += log.turn(event, now, WallTime(1234ms), effects, brain);
    return effects;
  }
  // A function that is deployed, called and answered, with a bit of everything.
  void live() {
    domain::Manifest manifest;
    manifest.name = "chat";
    manifest.engine.kind = domain::EngineKind::Fake;
    manifest.engine.fake.tokens_per_second = 0.1;
    manifest.template_use = domain::TemplateUse::On;
    manifest.keep_alive = kForever;
    manifest.prime = {"You are a careful assistant of the bank."};
    post(FunctionPut{manifest, 1});
    post(ModelPrepared{
        "chat", 1, {.path = "m.gguf", .sha256 = "ab", .weight_bytes = 50 * kMB}, 3ms});
    post(CallArrived{.call = {1},
                     .function = "chat",
                     .deadline = now + 60s,
                     .keep_alive = 0ns,
                     .domain = {.tenant = "t\"1\\", .salt = "\xC3\xA9"}});
    post(ProcessReady{.process = {1}, .bytes_read = 0});
    post(ProcessReady{.process = {2}});
    post(AnswerBegan{"chat", 1, 40ms});
    post(MemoryMeasured{{2}, 7 * kMB, 9 * kMB});
    post(CallEnded{{1}});
    post(Tick{});
    post(ProcessGone{{2}, "bad byte \xFF", Ending::Itself});
  }
  std::vector<std::string> lines() const {
    std::vector<std::string> all;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) all.push_back(line);
    return all;
  }
  // "" when each line is decided as it was, else the number of the first that is not.
  static std::string first_difference(const std::vector<std::string>& lines,
                                      OtherPolicy other = OtherPolicy::Refuse) {
    Replay replay(other);
    for (const std::string& line : lines) {
      const auto same = replay.take(line);
      if (!same) return same.error().message;
      if (!*same) return std::to_string(replay.difference()->line);
    }
    return "";
  }

  Brain brain{kOptions};
  DecisionLog log;
  std::string text;
  Effects effects;
  std::function<void(Effects&)> change;  // what another policy would have decided
  Time now{1000s};
};

// The same lines with sums that fit them again.
std::vector<std::string> summed(std::vector<std::string> lines) {
  Fnv sum;
  for (std::string& line : lines) {
    const std::size_t at = line.find(",\"sum\":");
    if (at != std::string::npos) {
      sum.add(line.substr(0, at));
      line = fmt::format("{},\"sum\":\"{:016x}\"}}", line.substr(0, at), sum.value());
      sum.add(line.substr(at) + "\n");
    } else {
      sum.add(line + "\n");
    }
  }
  return lines;
}

TEST_F(Logged, EachLine_IsDecidedAsItWas) {
  live();
  EXPECT_EQ(first_difference(lines()), "");
  EXPECT_THAT(text, HasSubstr("\"event\":\"CallArrived\""));
  EXPECT_THAT(text, HasSubstr("{\"GrantCall\":{\"call\":1,\"replica\":2"));
  EXPECT_THAT(text, HasSubstr("bad byte ?"));
}

TEST_F(Logged, ManifestsAndFacts_AreSaidOnce) {
  live();
  post(FunctionDeleted{"chat"});
  std::size_t manifests = 0;
  for (const std::string& line : lines()) manifests += line.starts_with("{\"manifest\":") ? 1 : 0;
  EXPECT_EQ(manifests, 2u);  // as deployed, and without its primes as the template's
}

TEST_F(Logged, PromptsAndSecrets_AreNotInIt) {
  domain::Manifest manifest;
  manifest.name = "theirs";
  manifest.engine.kind = domain::EngineKind::Process;
  manifest.engine.process.command = {"python", "serve.py"};
  manifest.engine.process.env = {{"API_KEY", "sk-very-secret"}};
  post(FunctionPut{manifest, 1});
  live();
  post(BeginningShared{{2}, std::make_shared<const std::vector<std::int32_t>>(300, 31337), 4});
  EXPECT_THAT(text, Not(HasSubstr("sk-very-secret")));
  EXPECT_THAT(text, Not(HasSubstr("careful assistant")));
  EXPECT_THAT(text, Not(HasSubstr("31337")));
  EXPECT_THAT(text, HasSubstr("API_KEY"));
  EXPECT_EQ(first_difference(lines()), "");
}

TEST_F(Logged, Secrets_KeepTheirLengthAndWhichAreEqual) {
  domain::Manifest manifest;
  manifest.model = "https://models.example/m.gguf?signature=abcd";
  manifest.engine.process.command = {"serve", "--key=sesame"};
  manifest.engine.process.env = {{"A", "what the owner wrote"}, {"B", "what the owner wrotf"}};
  manifest.prime = {"what the owner wrote", "x", ""};
  post(FunctionPut{manifest, 1});
  EXPECT_THAT(text, HasSubstr(R"("model":"https://models.example/m.gguf#1.............")"));
  EXPECT_THAT(text, HasSubstr(R"("command":["#2...","#3.........."])"));
  EXPECT_THAT(text, HasSubstr(R"("env":["A","#4..................","B","#5..................")"));
  EXPECT_THAT(text, HasSubstr(R"("prime":["#4..................","#6",""])"));
  post(CallArrived{.call = {1}, .deadline = now + 60s, .domain = {.tenant = "t", .salt = "x"}});
  EXPECT_THAT(text, HasSubstr(R"("domain":{"tenant":"t","salt":"#6"})"));
  EXPECT_EQ(first_difference(lines()), "");
}

TEST_F(Logged, AnswerThatIsOtherNow_IsNamedByItsLine) {
  change = [](Effects& decided) {
    for (Effect& effect : decided.list)
      if (auto* grant = std::get_if<GrantCall>(&effect)) grant->cold = false;
  };
  live();
  const std::vector<std::string> changed = lines();
  const auto of_grant = std::find_if(changed.begin(), changed.end(), [](const std::string& line) {
    return line.find("GrantCall") != std::string::npos;
  });
  ASSERT_NE(of_grant, changed.end());
  EXPECT_EQ(first_difference(changed), std::to_string(of_grant - changed.begin() + 1));
}

TEST_F(Logged, LogOfAnotherPolicy_IsRefusedWithItsVersionAndBuild) {
  live();
  std::vector<std::string> older = lines();
  const std::string now_said = fmt::format("\"policy\":{}", policy::kPolicyVersion);
  older.front().replace(older.front().find(now_said), now_said.size(), "\"policy\":77");
  older = summed(older);
  EXPECT_THAT(first_difference(older), HasSubstr("line 1: it was decided by policy version 77 "
                                                 "(glowplug \"test\"), and this program has"));
  EXPECT_EQ(first_difference(older, OtherPolicy::Replay), "");
}

TEST_F(Logged, Damage_IsNoOtherDecision) {
  live();
  const std::vector<std::string> good = lines();
  EXPECT_EQ(summed(good), good);
  const auto damaged = [&good](std::string_view what, std::string_view with) {
    std::vector<std::string> changed = good;
    for (std::size_t i = 0; i < changed.size(); ++i) {
      const std::size_t found = changed[i].find(what);
      if (found == std::string::npos) continue;
      changed[i].replace(found, what.size(), with);
      return std::pair(i + 1, first_difference(changed));
    }
    return std::pair<std::size_t, std::string>(0, "not found");
  };
  const std::pair<const char*, const char*> damages[] = {
      {"\"cold\":true", "\"cold\":null"},
      {"\"after\":40000000", "\"after\":40000001"},
      {"\"seen\":\"", "\"seen\":\"0"}};
  for (const auto& [what, with] : damages) {
    const auto [line, told] = damaged(what, with);
    EXPECT_THAT(told, HasSubstr(fmt::format("line {}: the log is damaged", line)));
  }
  // In a definition, whose sum the next turn has.
  EXPECT_THAT(damaged("\"weight_bytes\":5", "\"weight_bytes\":6").second,
              HasSubstr("the log is damaged"));
}

TEST_F(Logged, End_IsTheLastLine) {
  live();
  std::vector<std::string> ended = lines();
  std::string end = DecisionLog::end("full");
  end.pop_back();
  ended.push_back(end);
  Replay replay;
  for (const std::string& line : ended) ASSERT_TRUE(replay.take(line).value());
  EXPECT_EQ(replay.end(), "full");
  ended.push_back(ended.at(1));
  EXPECT_THAT(first_difference(ended), HasSubstr("something follows the end"));
}

TEST_F(Logged, LinesThatAreNone_AreToldAndEndNothing) {
  live();
  const std::vector<std::string> good = lines();
  const auto with = [&good](std::size_t at, const std::string& line) {
    std::vector<std::string> changed = good;
    changed.at(at) = line;
    return first_difference(summed(changed));
  };
  const auto turn = [](const std::string& said) { return said + R"(,"sum":"0"})"; };
  EXPECT_THAT(with(0, "{}"), HasSubstr("line 1: this is no decision log"));
  EXPECT_THAT(with(0, "x"), HasSubstr("line 1: this is no decision log"));
  EXPECT_THAT(with(0, R"({"glowplug_log":9,"options":{}})"), HasSubstr("has version 9"));
  EXPECT_THAT(with(0, R"({"glowplug_log":2,"policy":1})"), HasSubstr("names no policy and build"));
  EXPECT_THAT(with(2, "not json"), HasSubstr("line 3: this is no JSON"));
  EXPECT_THAT(with(2, turn(R"({"turn":1,"t":1,"wall":1,"event":"Nothing","is":{})")),
              HasSubstr("there is no event `Nothing`"));
  EXPECT_THAT(
      with(2, turn(R"({"turn":1,"t":1,"wall":1,"event":"FunctionPut","is":{"manifest":7})")),
      HasSubstr("`manifest` names a manifest that no line before says"));
  EXPECT_THAT(with(2, turn(R"({"turn":1,"t":1,"wall":1,"event":"CallEnded","is":{"outcome":9})")),
              HasSubstr("`outcome` is no enumerator"));
  EXPECT_THAT(with(2, turn(R"({"turn":1,"event":"Tick")")), HasSubstr("a turn has t, wall, event"));
  std::vector<std::string> cut = good;
  cut.erase(cut.begin() + 2);
  EXPECT_THAT(first_difference(cut), HasSubstr("the log is damaged"));
  EXPECT_THAT(first_difference(summed(cut)), HasSubstr("turn 1 is missing here"));
  std::vector<std::string> ended = good;
  ended.resize(good.size() - 7);  // the call waits still
  ended.push_back(turn(R"({"turn":4,"t":1,"wall":1,"event":"CallEnded","is":{"call":1})"));
  EXPECT_THAT(first_difference(summed(ended)), HasSubstr("call 1 ends here and was never granted"));
}

// Every event comes back as it went, whatever its members hold.
template <typename One>
std::string twice(const One& one) {
  LogTables written, read, again;
  LogWriter writer(written);
  writer.object(one);
  const std::string text = writer.take();
  LogReader reader(read);
  std::istringstream lines(writer.take_definitions());
  for (std::string line; std::getline(lines, line);)
    EXPECT_TRUE(reader.take_definition(boost::json::parse(line)));
  One back{};
  reader.object(boost::json::parse(text), back);
  EXPECT_EQ(reader.fault(), "") << text;
  LogWriter rewriter(again, Secrets::AsTheyAre);
  rewriter.object(back);
  EXPECT_EQ(rewriter.take(), text);
  return text;
}

TEST(LogArchive, Values_ComeBackAsTheyWent) {
  EXPECT_EQ(twice(Tick{}), "{}");
  EXPECT_EQ(twice(CallEnded{{18'446'744'073'709'551'615U}, CallOutcome::ReplicaBroke}),
            R"({"call":18446744073709551615,"outcome":1})");
  EXPECT_EQ(twice(ProcessReady{{3}, "", 0}), R"({"process":3,"bytes_read":[0]})");
  EXPECT_EQ(twice(ProcessReady{{3}, "net\nns", std::nullopt}),
            R"({"process":3,"sandbox":"net\u000ans"})");
  EXPECT_EQ(twice(ModelProgress{"f", 2, 0.1, "fetch"}),
            R"({"function":"f","revision":2,"fraction":"0.1","phase":"fetch"})");
  EXPECT_EQ(twice(PreloadWanted{"f", domain::Tier::Spare, kForever}),
            R"({"function":"f","tier":5,"hold":9223372036854775807})");
  twice(TemplatesRecalled{{"a", "b"}});
  twice(StartProcess{.process = {4},
                     .manifest = {.name = "f", .schedule = {{.from = 5}}},
                     .limits = {.cpu_cores = 1.0 / 3},
                     .from = domain::ProcessId{2},
                     .prime = std::make_shared<const std::vector<std::int32_t>>(300, 9)});
  domain::PhaseTimes times;
  times[domain::Phase::Queue] = 0ns;
  times[domain::Phase::Fork] = 5ms;
  EXPECT_THAT(twice(GrantCall{.call = {1}, .waited = times}),
              HasSubstr(R"("waited":{"queue":[0],"fork":[5000000]})"));
}

TEST(LogArchive, DefaultsOfAManifest_AreNotTakenForZeros) {
  domain::Manifest manifest{.name = "f", .context = 0, .keep_alive = 0ns};
  manifest.engine.process.ready = "";
  manifest.limits.queue = 0;
  EXPECT_THAT(twice(FunctionPut{manifest, 1}), R"({"manifest":1,"revision":1})");
}

}  // namespace
}  // namespace glowplug::control
