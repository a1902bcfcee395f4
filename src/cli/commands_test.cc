#include "cli/commands.h"

#include <fcntl.h>

#include <gtest/gtest.h>

#include "cli/json_fields.h"
#include "cli/test_session.h"

namespace glowplug::cli {
namespace {

std::string function_json(const std::string& more) {
  return R"({"function":"chat","revision":1,"task":"generate","engine":"llama",)" + more + "}";
}

// One stream with these functions as its events, then its end.
std::string events_answer(const std::vector<std::string>& functions) {
  std::string text = ": ping\n\n";
  for (const std::string& function : functions)
    text += "event: state\ndata: " + function_json(function) + "\n\n";
  return json_answer(200, text);
}

const std::string kNoSuchFunction =
    R"({"error":{"message":"no function 'x'","type":"t","param":null,"code":"model_not_found"}})";

TEST(Commands, Refusals_BecomeExitCodesAndTheServersWords) {
  const std::pair<int, int> cases[] = {{404, 3}, {401, 5}, {403, 5}, {429, 5}, {500, 1}, {422, 1}};
  for (const auto& [status, exit] : cases) {
    Session session({json_answer(status, kNoSuchFunction)});
    EXPECT_EQ(stop(session.context, "x"), exit);
    EXPECT_NE(session.err.str().find("no function 'x'"), std::string::npos);
    EXPECT_EQ(session.out.str(), "");
  }
}

TEST(Commands, RefusalWithJson_IsTheServersErrorOnStdout) {
  Session session({json_answer(404, kNoSuchFunction)}, Output::Json);
  EXPECT_EQ(rm(session.context, "x"), 3);
  EXPECT_EQ(session.out.str(), kNoSuchFunction + "\n");
}

TEST(Commands, ServerGone_IsExitCodeFourAlsoInJson) {
  Session session({}, Output::Json);
  const HttpClient nowhere = *HttpClient::create({.url = "http://127.0.0.1:1"});
  const Context context{.server = nowhere,
                        .admin = nowhere,
                        .console = session.console,
                        .clock = session.clock,
                        .json = true};
  EXPECT_EQ(ps(context), 4);
  const auto body = parse_json(session.out.str());
  ASSERT_TRUE(body.ok());
  EXPECT_EQ(text_field(*field(*body, "error"), "code"), kServerUnreachable);
}

TEST(Commands, PsJson_IsAListOfObjects) {
  Session session({json_answer(200, R"({"data":[{"function":"chat"}]})")}, Output::Json);
  EXPECT_EQ(ps(session.context), 0);
  EXPECT_EQ(session.out.str(), "[{\"function\":\"chat\"}]\n");
}

TEST(Commands, Lists_AreTablesOrWordsWhereTheyAreEmpty) {
  const std::string file =
      R"({"data":[{"id":"file-1","filename":"in.jsonl","purpose":"batch","bytes":2000,)"
      R"("created_at":60,"expires_at":null}]})";
  const std::string batch =
      R"({"data":[{"id":"batch_1","status":"completed","endpoint":"/v1/embeddings",)"
      R"("created_at":60,"request_counts":{"total":3,"completed":2,"failed":1}}]})";
  const std::string none = json_answer(200, R"({"data":[]})");
  Session session({json_answer(200, file), json_answer(200, batch), none, none, none, none});
  EXPECT_EQ(files(session.context, {}), 0);
  EXPECT_EQ(batches(session.context), 0);
  EXPECT_EQ(session.out.str(),
            "FILE    NAME      PURPOSE    SIZE  CREATED (UTC)        EXPIRES (UTC)\n"
            "file-1  in.jsonl  batch    2.0 kB  1970-01-01 00:01:00  -\n"
            "BATCH    STATUS     DONE              ENDPOINT        CREATED (UTC)\n"
            "batch_1  completed  2 of 3, 1 failed  /v1/embeddings  1970-01-01 00:01:00\n");
  session.out.str("");
  EXPECT_EQ(files(session.context, {}), 0);
  EXPECT_EQ(batches(session.context), 0);
  EXPECT_EQ(dead_letters(session.context, {}), 0);
  EXPECT_EQ(ps(session.context, {.warm = true}), 0);
  EXPECT_EQ(session.out.str(),
            "no files\n"
            "no batches; start one with: glowplug batch FILE.jsonl\n"
            "no dead letters\n"
            "nothing is warm; see: glowplug preload --help\n");
  EXPECT_TRUE(session.server.requests().at(1).starts_with("GET /v1/batches?limit=100 "));
}

TEST(Deploy, NewFunction_FollowsTheFetchAndSaysHowToCall) {
  Session session({json_answer(404, kNoSuchFunction),
                   json_answer(201, function_json("\"state\":\"cold\"")),
                   events_answer({R"("state":"loading","tier":"remote","progress":0.5)",
                                  R"("state":"cold","tier":"disk","progress":0)"})});
  EXPECT_EQ(deploy(session.context, {.source = "hf:org/repo:Chat.gguf"}), 0);
  EXPECT_NE(session.err.str().find("50 %"), std::string::npos) << session.err.str();
  EXPECT_NE(session.out.str().find("chat is deployed (revision 1)"), std::string::npos)
      << session.out.str();
  EXPECT_NE(session.out.str().find("curl " + session.server.url() + "/v1/chat/completions"),
            std::string::npos);
  const std::string put = session.server.requests().at(1);
  EXPECT_TRUE(put.starts_with("PUT /v1/functions/chat HTTP/1.1"));
  EXPECT_NE(
      put.find(
          R"({"apiVersion":"glowplug.dev/v1","kind":"Function","name":"chat","model":"hf:org/repo:Chat.gguf"})"),
      std::string::npos)
      << put;
  EXPECT_TRUE(session.server.requests().at(2).starts_with("GET /v1/functions/chat/events "));
}

TEST(Deploy, SameAgain_SaysNoChange) {
  const std::string there = R"("state":"cold","tier":"disk")";
  Session session({json_answer(200, function_json(there)), json_answer(200, function_json(there)),
                   events_answer({there})});
  EXPECT_EQ(deploy(session.context, {.source = "chat"}), 0);
  EXPECT_NE(session.out.str().find("chat: no change (revision 1)"), std::string::npos)
      << session.out.str();
}

TEST(Deploy, Wait_WarmsAndFollowsUntilReady) {
  Session session({json_answer(404, kNoSuchFunction), json_answer(201, "{}"),
                   events_answer({R"("state":"cold","tier":"disk")"}), json_answer(202, ""),
                   events_answer({R"("state":"loading","tier":"disk","progress":0.2)",
                                  R"("state":"ready","tier":"replica")"})});
  EXPECT_EQ(deploy(session.context, {.source = "chat", .wait = true}), 0);
  EXPECT_TRUE(session.server.requests().at(3).starts_with("POST /v1/functions/chat/warm "));
  EXPECT_EQ(session.server.requests().size(), 5u);
}

TEST(Preload, Wait_FollowsUntilTheTierIsThere) {
  Session session({json_answer(202, "{}"), json_answer(202, ""),
                   events_answer({R"("state":"cold","tier":"memory")",
                                  R"("state":"loading","tier":"memory","progress":0.5)",
                                  R"("state":"cold","tier":"spare")"})});
  EXPECT_EQ(preload(session.context, {.name = "chat", .duration = "2h", .wait = true}), 0);
  EXPECT_NE(session.out.str().find("chat: is at tier template, held for 2h"), std::string::npos)
      << session.out.str();
  const std::string asked = session.server.requests().at(0);
  EXPECT_TRUE(asked.starts_with("POST /v1/functions/chat/preload ")) << asked;
  EXPECT_NE(asked.find(R"({"tier":"template","for":"2h"})"), std::string::npos) << asked;
}

TEST(Preload, Refused_SaysWhyWithItsExitCode) {
  Session session({json_answer(404, kNoSuchFunction)});
  EXPECT_EQ(preload(session.context, {.name = "chat"}), 3);
}

TEST(Ps, Warm_ShowsWhoHoldsWhat) {
  Session session({json_answer(
      200, R"({"data":[{"function":"a","revision":1,"state":"cold","tier":"template","holds":[
               {"by":"preload","tier":"template","count":1,"left":"4m"},
               {"by":"schedule","tier":"replica","count":2}]},
              {"function":"b","revision":1,"state":"cold","tier":"template","holds":[]}]})")});
  EXPECT_EQ(ps(session.context, {.warm = true}), 0);
  EXPECT_TRUE(session.server.requests().at(0).starts_with("GET /v1/functions?warm=true "));
  EXPECT_NE(session.out.str().find("template by preload for 4m, 2 by schedule"), std::string::npos)
      << session.out.str();
}

TEST(Ps, Load_ShowsWhatItWantsAndNoEmptyColumn) {
  const std::string b = R"({"function":"b","revision":1,"state":"cold","holds":[],"scaling":null})";
  Session session(
      {json_answer(200, R"({"data":[{"function":"a","revision":1,"state":"ready","holds":[],
               "scaling":{"policy":"threshold","wanted":3,"reason":"51 wait, over 50: 3"}},)" +
                            b + "]}"),
       json_answer(200, R"({"data":[)" + b + "]}")});
  EXPECT_EQ(ps(session.context), 0);
  EXPECT_NE(session.out.str().find("LOAD WANTS\n"), std::string::npos) << session.out.str();
  EXPECT_NE(session.out.str().find("  51 wait, over 50: 3\n"), std::string::npos);
  EXPECT_EQ(session.out.str().find("HELD"), std::string::npos);
  session.out.str("");
  EXPECT_EQ(ps(session.context), 0);
  EXPECT_EQ(session.out.str().find("LOAD WANTS"), std::string::npos);
}

TEST(Why, Function_SaysWhatItsLoadWantsNow) {
  Session session({json_answer(200, R"({"function":"a","scaling":{"policy":"threshold","wanted":3,
                             "reason":"51 wait, over 50: 3"}})"),
                   json_answer(200, R"({"data":[]})"),
                   json_answer(200, R"({"function":"a","scaling":null})"),
                   json_answer(200, R"({"data":[]})")});
  EXPECT_EQ(why(session.context, {.what = "a"}), 0);
  EXPECT_NE(session.out.str().find("threshold wants now: 51 wait, over 50: 3\n"), std::string::npos)
      << session.out.str();
  session.out.str("");
  EXPECT_EQ(why(session.context, {.what = "a"}), 0);
  EXPECT_EQ(session.out.str().find("wants now"), std::string::npos);
}

TEST(Deploy, FailedFetch_IsExitCodeOneWithTheReason) {
  Session session({json_answer(404, kNoSuchFunction), json_answer(201, "{}"),
                   events_answer({R"("state":"failed","tier":"remote","reason":"no such file")"})});
  EXPECT_EQ(deploy(session.context, {.source = "chat"}), 1);
  EXPECT_NE(session.err.str().find("chat failed: no such file"), std::string::npos)
      << session.err.str();
}

TEST(Deploy, StreamThatBreaksOrEnds_IsOpenedAgainAndTheWishIsRepeated) {
  const std::string loading = R"("state":"loading","tier":"disk","progress":0.1)";
  const std::string busy =
      R"({"error":{"message":"256 streams","type":"t","param":null,"code":"server_is_overloaded"}})";
  Session session({json_answer(404, kNoSuchFunction), json_answer(201, "{}"),
                   events_answer({R"("state":"cold","tier":"disk")"}), json_answer(202, ""),
                   events_answer({loading}), json_answer(202, ""),
                   "HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\ndata: {}", json_answer(202, ""),
                   json_answer(503, busy), json_answer(202, ""),
                   events_answer({loading, R"("state":"ready","tier":"replica")"})});
  EXPECT_EQ(deploy(session.context, {.source = "chat", .wait = true}), 0) << session.err.str();
  EXPECT_TRUE(session.server.requests().at(9).starts_with("POST /v1/functions/chat/warm "));
}

TEST(Deploy, StreamThatBreaksForEver_FailsAndSaysSo) {
  std::vector<std::string> answers{json_answer(404, kNoSuchFunction), json_answer(201, "{}")};
  for (int i = 0; i < 6; ++i)
    answers.push_back(events_answer({R"("state":"loading","tier":"remote","progress":0.1)"}));
  Session session(answers);
  EXPECT_EQ(deploy(session.context, {.source = "chat"}), 1);
  EXPECT_EQ(session.server.requests().size(), 8u);
  EXPECT_NE(session.err.str().find("the events of chat broke off 6 times, at last because: the "
                                   "server ended the stream"),
            std::string::npos)
      << session.err.str();
}

TEST(Deploy, DeletedMeanwhile_IsNotFound) {
  Session session({json_answer(404, kNoSuchFunction), json_answer(201, "{}"),
                   json_answer(200, "event: deleted\ndata: {\"function\":\"chat\"}\n\n")});
  EXPECT_EQ(deploy(session.context, {.source = "chat"}), 3);
  EXPECT_NE(session.err.str().find("chat was deleted meanwhile"), std::string::npos);
  Session gone({json_answer(404, kNoSuchFunction), json_answer(201, "{}"),
                json_answer(404, kNoSuchFunction)});
  EXPECT_EQ(deploy(gone.context, {.source = "chat"}), 3);
}

TEST(Deploy, FileThatIsNotThere_IsSaidBeforeAskingTheServer) {
  Session session({});
  EXPECT_EQ(deploy(session.context, {.source = "/nonexistent/a.gguf"}), 1);
  EXPECT_NE(session.err.str().find("'/nonexistent/a.gguf'"), std::string::npos);
  EXPECT_EQ(deploy(session.context, {.source = "a/b"}), 2);
}

TEST(Run, StreamedAnswer_GoesToStdoutAndItsNumbersToStderr) {
  const std::string events =
      "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n"
      "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\ndata: "
      "{\"choices\":[{\"delta\":{\"content\":\" you\"},"
      "\"finish_reason\":\"stop\"}]}\n\ndata: "
      "{\"choices\":[],\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":2}}\n\n"
      "data: [DONE]\n\n";
  Session session({json_answer(200, events, "x-glowplug-cold-start: true\r\n")});
  EXPECT_EQ(run(session.context,
                {.name = "chat", .prompt = "Hello", .system = "Be brief", .max_tokens = 5}),
            0);
  EXPECT_EQ(session.out.str(), "Hi you\n");
  EXPECT_NE(session.err.str().find("cold"), std::string::npos);
  const std::string request = session.server.requests().at(0);
  EXPECT_NE(
      request.find(
          R"("messages":[{"role":"system","content":"Be brief"},{"role":"user","content":"Hello"}])"),
      std::string::npos)
      << request;
  EXPECT_NE(request.find("\"max_tokens\":5"), std::string::npos);
}

TEST(Run, AnswerWithoutItsEnd_Fails) {
  Session cut({json_answer(200, "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n")});
  EXPECT_EQ(run(cut.context, {.name = "chat", .prompt = "x"}), 1);
  Session error({json_answer(
      200,
      "data: {\"error\":{\"message\":\"the replica ended\",\"code\":\"replica_failed\"}}\n\n")});
  EXPECT_EQ(run(error.context, {.name = "chat", .prompt = "x"}), 1);
  EXPECT_NE(error.err.str().find("the replica ended"), std::string::npos);
}

TEST(Run, NoPromptAndEmptyInput_IsAUsageError) {
  Session session({});
  const UniqueFd empty(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  session.console.in_fd = empty.get();
  EXPECT_EQ(run(session.context, {.name = "chat"}), 2);
}

TEST(Invoke, Envelope_IsTheAnswerAndAFunctionErrorIsAFailure) {
  Session good({json_answer(200, R"({"statusCode":200,"body":"x"})")});
  EXPECT_EQ(invoke(good.context, {.name = "f"}), 0);
  EXPECT_EQ(good.out.str(), "{\"statusCode\":200,\"body\":\"x\"}\n");
  Session bad(
      {json_answer(404, R"({"statusCode":404,"body":"x"})", "x-function-error: Unhandled\r\n")});
  EXPECT_EQ(invoke(bad.context, {.name = "f"}), 1);
  Session absent({json_answer(404, kNoSuchFunction)});
  EXPECT_EQ(invoke(absent.context, {.name = "f"}), 3);
  EXPECT_EQ(absent.out.str(), "");
}

TEST(Why, Decisions_AreThoseOfTheFunctionAndTheLastOnes) {
  Session session(
      {json_answer(200, R"({"data":[{"at_ms":1000,"function":"a","decision":"start","reason":"r1"},
    {"at_ms":2000,"function":"b","decision":"stop","reason":"r2"},
    {"at_ms":3000,"function":"a","decision":"stop","reason":"r3"}]})")});
  EXPECT_EQ(why(session.context, {.function = "a", .limit = 1}), 0);
  EXPECT_EQ(session.out.str(),
            "AT            FUNCTION  DECISION  REASON\n00:00:03.000  a         stop      r3\n");
  EXPECT_TRUE(session.server.requests().at(0).starts_with("GET /v1/admin/decisions?function=a "));
}

TEST(Logs, Lines_AreTextOrObjects) {
  Session session({json_answer(200, R"({"data":["one",{"at":"2","line":"two"},"three"]})")});
  EXPECT_EQ(logs(session.context, {.name = "f", .tail = 2}), 0);
  EXPECT_EQ(session.out.str(), "2  two\nthree\n");
}

std::string trial_event(int threads, const std::string& repack, int done) {
  return R"(event: trial
data: {"settings":{"threads":)" +
         std::to_string(threads) + R"(,"batch":"auto","repack":")" + repack +
         R"(","kv":"auto"},"done":)" + std::to_string(done) + R"(,"of":2}

)";
}

std::string tune_answer(const std::string& more) {
  const auto trial = [](int threads, const std::string& rest) {
    return R"({"settings":{"threads":)" + std::to_string(threads) +
           R"(,"batch":"auto","repack":"auto","kv":"auto"},)" + rest + "}";
  };
  return json_answer(
      200,
      trial_event(2, "auto", 1) + trial_event(1, "auto", 2) +
          R"(event: result
data: {"function":"f","revision":3,"cores":2,"calls_meanwhile":0,)"
          R"("choice":{"threads":"auto","batch":"auto","repack":"auto","kv":"auto"},"trials":[)" +
          trial(2, R"("figures":{"prefill":{"median":210.04},"decode":{"median":95},)"
                   R"("load_ms":400.4,"private_bytes":90000000})") +
          "," + trial(1, R"("error":"took longer than 300 s")") + "]" + more + "}\n\n");
}

TEST(Tune, TableMarksTheChoiceAndSaysWhatFollows) {
  Session session(
      {tune_answer(R"(,"faster_file":{"file_type":"q4_0","source":"hf:a","times":1.62})")});
  EXPECT_EQ(tune(session.context, {.name = "f"}), 0);
  EXPECT_EQ(
      session.out.str(),
      "   THREADS  BATCH  REPACK  KV    FILE               PREFILL/S  DECODE/S  START MS  OWN MB\n"
      "*        2   auto  auto    auto  own                    210.0      95.0       400      90\n"
      "         1   auto  auto    auto  own   took longer than 300 s         -         0       0\n"
      "f: threads auto, batch auto, repack auto, kv auto; what is auto in revision 3 stands for "
      "this from its next start on\n"
      "a q4_0 file would be 1.6 times as fast: glowplug deploy hf:a\n");
  EXPECT_NE(session.err.str().find("measuring f"), std::string::npos);
}

TEST(Tune, AppliedRevisionIsNamedAndJsonIsTheServers) {
  Session text({tune_answer(R"(,"applied_revision":4)")});
  EXPECT_EQ(tune(text.context, {.name = "f", .apply = true}), 0);
  EXPECT_NE(text.out.str().find("written into revision 4"), std::string::npos);
  EXPECT_NE(text.server.requests()[0].find(R"({"apply":true,"force":false})"), std::string::npos);
  Session json({tune_answer("")}, Output::Json);
  EXPECT_EQ(tune(json.context, {.name = "f"}), 0);
  const auto body = parse_json(json.out.str());
  ASSERT_TRUE(body.ok());
  EXPECT_EQ(number_field(*body, "revision"), 3);
}

TEST(Tune, ErrorEventAndBrokenStream_AreFailures) {
  Session failed({json_answer(200,
                              "event: error\ndata: {\"error\":{\"message\":\"it "
                              "died\",\"code\":\"function_failed\"}}\n\n")});
  EXPECT_EQ(tune(failed.context, {.name = "f"}), 1);
  EXPECT_NE(failed.err.str().find("it died"), std::string::npos);
  Session broken({json_answer(200, trial_event(2, "auto", 1))});
  EXPECT_EQ(tune(broken.context, {.name = "f"}), 1);
  EXPECT_NE(broken.err.str().find("the server ended the tune"), std::string::npos);
  Session refused({json_answer(404, kNoSuchFunction)});
  EXPECT_EQ(tune(refused.context, {.name = "f"}), 3);
}

}  // namespace
}  // namespace glowplug::cli
