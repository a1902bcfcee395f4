#include <gtest/gtest.h>

#include "cli/commands.h"
#include "cli/json_fields.h"
#include "cli/test_session.h"

namespace glowplug::cli {
namespace {

const std::string kTraffic =
    R"({"object":"traffic","function":"chat","traffic":[{"revision":3,"weight":90,)"
    R"("checkpoint":"checkpoint-10"},{"revision":4,"weight":10,"checkpoint":null}]})";

const std::string kList =
    R"({"object":"list","data":[{"id":"checkpoint-10","step":10,"revision":3,"weight":90,)"
    R"("created_at":1700000000,"state":"saved","verified":true,)"
    R"("model":{"source":"smollm2","sha256":"0123456789abcdef"}},)"
    R"({"id":"checkpoint-20","step":20,"revision":4,"weight":0,"created_at":1700000000,)"
    R"("state":"damaged","verified":false,"reason":"its checksum"}]})";

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Checkpoints, List_IsATableWithDamageBelow) {
  Session session({json_answer(200, kList)});
  EXPECT_EQ(checkpoints(session.context, {.name = "chat"}), 0);
  const std::string text = session.out.str();
  EXPECT_TRUE(has(text, "checkpoint-10    3  smollm2  0123456789ab  2023-11-14 22:13:20     90 %"))
      << text;
  EXPECT_TRUE(has(text, "active"));
  EXPECT_TRUE(has(text, "damaged"));
  EXPECT_TRUE(has(text, "\n\ncheckpoint-20: its checksum\n"));
  EXPECT_TRUE(session.server.requests().at(0).starts_with("GET /v1/functions/chat/checkpoints "));
}

TEST(Checkpoints, EmptyList_SaysHowToSave) {
  Session session({json_answer(200, R"({"data":[]})")});
  EXPECT_EQ(checkpoints(session.context, {.name = "chat"}), 0);
  EXPECT_TRUE(has(session.out.str(), "glowplug checkpoints chat save"));
}

TEST(Checkpoints, Json_IsWhatTheServerSays) {
  Session listed({json_answer(200, kList)}, Output::Json);
  EXPECT_EQ(checkpoints(listed.context, {.name = "chat"}), 0);
  EXPECT_TRUE(parse_json(listed.out.str())->is_array());
  Session changed({json_answer(200, kTraffic)}, Output::Json);
  EXPECT_EQ(checkpoints(changed.context, {.name = "chat", .action = "rollback"}), 0);
  EXPECT_EQ(changed.out.str(), kTraffic + "\n");
  Session removed({json_answer(204, "")}, Output::Json);
  EXPECT_EQ(checkpoints(removed.context, {.name = "chat", .action = "rm", .words = {"10"}}), 0);
  EXPECT_EQ(removed.out.str(),
            "{\"function\":\"chat\",\"checkpoint\":\"checkpoint-10\",\"deleted\":true}\n");
}

TEST(Checkpoints, Actions_AskForWhatTheySay) {
  struct Case {
    std::string action;
    std::vector<std::string> words;
    std::string line, body;
  };
  const std::string at = " /v1/functions/chat/";
  for (const Case& one : std::vector<Case>{
           {"save", {}, "POST" + at + "checkpoints ", "{}"},
           {"save", {"checkpoint-7"}, "POST" + at + "checkpoints ", R"({"step":7})"},
           {"activate", {"10"}, "POST" + at + "checkpoints/checkpoint-10/activate ", "{}"},
           {"rollback", {}, "POST" + at + "rollback ", "{}"},
           {"traffic",
            {"10=90", "checkpoint-20=10"},
            "PUT" + at + "traffic ",
            R"({"checkpoint-10":90,"checkpoint-20":10})"},
           {"rm", {"checkpoint-10"}, "DELETE" + at + "checkpoints/checkpoint-10 ", ""}}) {
    Session session(
        {json_answer(one.action == "rm" ? 204 : 200, one.action == "rm" ? "" : kTraffic)});
    EXPECT_EQ(
        checkpoints(session.context, {.name = "chat", .action = one.action, .words = one.words}), 0)
        << one.action;
    const std::string request = session.server.requests().at(0);
    EXPECT_TRUE(request.starts_with(one.line)) << request;
    EXPECT_TRUE(request.ends_with("\r\n\r\n" + one.body)) << request;
  }
}

TEST(Checkpoints, Change_SaysWhatServes) {
  Session session({json_answer(200, kTraffic)});
  EXPECT_EQ(checkpoints(session.context, {.name = "chat", .action = "activate", .words = {"10"}}),
            0);
  EXPECT_TRUE(has(session.out.str(),
                  "chat: revision 3 (checkpoint-10) takes 90 % of the calls\n"
                  "chat: revision 4 takes 10 % of the calls\n"))
      << session.out.str();
}

TEST(Checkpoints, Misuse_IsExitCodeTwoAndAsksNothing) {
  for (const auto& [action, words] : std::vector<std::pair<std::string, std::vector<std::string>>>{
           {"promote", {}},
           {"list", {"x"}},
           {"rollback", {"10"}},
           {"save", {"x"}},
           {"save", {"10", "20"}},
           {"activate", {}},
           {"activate", {"0"}},
           {"activate", {"10", "20"}},
           {"rm", {}},
           {"rm", {"all"}},
           {"traffic", {}},
           {"traffic", {"10"}},
           {"traffic", {"10="}},
           {"traffic", {"=90"}},
           {"traffic", {"10=9x"}},
           {"traffic", {"x=90"}},
           {"traffic", {""}},
           {"traffic", {"10=1", "10=99"}}}) {
    Session session({});
    EXPECT_EQ(checkpoints(session.context, {.name = "chat", .action = action, .words = words}), 2)
        << action;
    EXPECT_TRUE(has(session.err.str(), "glowplug checkpoints NAME")) << session.err.str();
    EXPECT_TRUE(session.server.requests().empty());
  }
}

TEST(Checkpoints, Refusals_AreTheServersWords) {
  Session session({json_answer(
      409, R"({"error":{"message":"it exists","type":"conflict","param":"step","code":"x"}})")});
  EXPECT_EQ(checkpoints(session.context, {.name = "chat", .action = "save"}), 1);
  EXPECT_TRUE(has(session.err.str(), "it exists"));
}

TEST(Ps, Split_IsShownWithItsWeights) {
  const std::string table = functions_table(
      parse_json(R"([{"function":"chat","revision":3,"revisions":[{"revision":3,"weight":90},)"
                 R"({"revision":4,"weight":10},{"revision":5,"weight":0}]},)"
                 R"({"function":"one","revision":7,"revisions":[{"revision":7,"weight":100}]}])")
          ->as_array());
  EXPECT_TRUE(has(table, "3 (90 %), 4 (10 %)")) << table;
  EXPECT_FALSE(has(table, "5 (")) << table;
  EXPECT_FALSE(has(table, "7 (")) << table;
}

}  // namespace
}  // namespace glowplug::cli
