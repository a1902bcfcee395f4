// Everything that turns what a server says into text: tables, progress, events, exit codes.
#include <sstream>

#include <gtest/gtest.h>

#include "cli/chat_stream.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/json_fields.h"
#include "cli/machine_probe.h"
#include "cli/progress_line.h"
#include "cli/sse.h"
#include "cli/table.h"

namespace glowplug::cli {
namespace {

TEST(ExitCode, Status_MapsToTheListedCodes) {
  EXPECT_EQ(exit_code_for_status(200), ExitCode::Done);
  EXPECT_EQ(exit_code_for_status(204), ExitCode::Done);
  EXPECT_EQ(exit_code_for_status(404), ExitCode::NotFound);
  for (const int status : {401, 403, 429})
    EXPECT_EQ(exit_code_for_status(status), ExitCode::Refused);
  for (const int status : {302, 400, 409, 422, 500, 503})
    EXPECT_EQ(exit_code_for_status(status), ExitCode::Failed);
  EXPECT_EQ(exit_code_for_error(kServerUnreachable), ExitCode::Unreachable);
  EXPECT_EQ(exit_code_for_error(kUsage), ExitCode::Usage);
  EXPECT_EQ(exit_code_for_error(kInterrupted), ExitCode::Failed);
  EXPECT_EQ(to_int(ExitCode::Refused), 5);
}

TEST(Table, Columns_AreAsWideAsTheirWidestCell) {
  EXPECT_EQ(layout_table({{"NAME"}, {"N", Align::Right}, {"END"}},
                         {{"a", "10", ""}, {"longer", "5", "x"}}),
            "NAME     N  END\n"
            "a       10\n"
            "longer   5  x\n");
}

TEST(Table, CellOfAnybody_MovesNoCursorAndIsNotEndless) {
  EXPECT_EQ(layout_table({{"A"}}, {{"\x1b[31mred\n\xe2\x80\xaepj.\xe2\x81\xa6\xc2\x9b\x7f"}}),
            "A\n?[31mred??pj.???\n");
  EXPECT_EQ(layout_table({{""}, {"B"}}, {{"“é…”", "€"}}), "      B\n“é…”  €\n");
  const std::string cut = layout_table({{""}}, {{std::string(5000, 'n')}});
  EXPECT_EQ(cut, std::string(299, 'n') + "…\n");
}

TEST(Table, CellInUtf8_CountsItsCharacters) {
  EXPECT_EQ(layout_table({{"A"}, {"B"}}, {{"é", "1"}}), "A  B\né  1\n");
  EXPECT_EQ(layout_table({{""}, {"", Align::Right}}, {{"a", "1"}, {"b", "20"}}), "a   1\nb  20\n");
}

TEST(Ps, NoFunctions_SaysWhatToDo) {
  EXPECT_EQ(functions_table({}), "no functions; deploy one with: glowplug deploy smollm2\n");
}

TEST(Ps, Functions_AreOneRowEachAndAFailureSaysWhy) {
  const boost::json::array list = data_of(*parse_json(
      R"({"data":[{"function":"chat","revision":2,"state":"ready","tier":"replica","replicas":1,"in_flight":3,
          "memory_bytes":94300000,"template":{"memory_bytes":121000000},"cold_starts":4,"reason":""},
         {"function":"b","revision":1,"state":"failed","tier":"remote","replicas":0,"in_flight":0,
          "memory_bytes":0,"cold_starts":0,"reason":"no such file"}]})"));
  const std::string table = functions_table(list);
  EXPECT_EQ(table.substr(0, table.find('\n')),
            "FUNCTION  REV  STATE   TIER     REPLICAS  IN-FLIGHT   MEMORY  TEMPLATE  COLD-STARTS");
  EXPECT_NE(
      table.find(
          "chat        2  ready   replica         1          3  94.3 MB  121.0 MB            4\n"),
      std::string::npos)
      << table;
  EXPECT_NE(table.find("b: no such file\n"), std::string::npos) << table;
}

TEST(Progress, Line_SaysRateAndRestOnceKnown) {
  EXPECT_EQ(progress_line({.label = "fetching", .fraction = 0}),
            "fetching  [------------------------]   0 %");
  const std::string line =
      progress_line({.label = "fetching", .fraction = 0.6, .began_at = 0.5, .elapsed = 10s});
  EXPECT_NE(line.find("[##############----------]  60 %  1.0 %/s"), std::string::npos) << line;
  EXPECT_NE(line.find("40"), std::string::npos) << line;
}

TEST(Progress, WithoutATerminal_PrintsALinePerTenPercent) {
  std::ostringstream out;
  std::ostringstream err;
  const Console console{.out = out, .err = err};
  const Time start{};
  {
    ProgressPrinter printer(console);
    for (int i = 0; i <= 100; ++i) printer.show("fetching", i / 100.0, start);
  }
  std::size_t lines = 0;
  for (const char c : err.str()) lines += c == '\n';
  EXPECT_EQ(lines, 11u);
  EXPECT_EQ(err.str().find('\r'), std::string::npos);
  EXPECT_EQ(out.str(), "");
}

TEST(Progress, OnATerminal_RewritesOneLine) {
  std::ostringstream out;
  std::ostringstream err;
  const Console console{.out = out, .err = err, .err_is_tty = true};
  {
    ProgressPrinter printer(console);
    printer.show("fetching", 0.1, Time{});
    printer.show("fetching", 0.2, Time{});
  }
  const std::string text = err.str();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\r'), 2);
}

TEST(Sse, Events_ComeWholeAtEveryCut) {
  const std::string bytes =
      ": ping\n\nevent: x\ndata: {\"a\":1}\r\n\r\ndata: one\ndata:two\n\ndata: [DONE]\n\n";
  const std::vector<std::string> expected{"x {\"a\":1}", " one\ntwo", " [DONE]"};
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    std::vector<std::string> got;
    SseReader reader([&got](const SseEvent& event) {
      got.push_back(std::string(event.name) + " " + std::string(event.data));
    });
    reader.feed(std::string_view(bytes).substr(0, cut));
    reader.feed(std::string_view(bytes).substr(cut));
    EXPECT_EQ(got, expected) << cut;
  }
}

TEST(Sse, ChatChunk_GivesTextReasonUsageAndError) {
  const auto text =
      read_chat_chunk(R"({"choices":[{"index":0,"delta":{"content":"Hé"},"finish_reason":null}]})");
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(text->text, "Hé");
  EXPECT_EQ(text->finish_reason, "");
  const auto end =
      read_chat_chunk(R"({"choices":[{"delta":{},"finish_reason":"stop"}],"usage":null})");
  EXPECT_EQ(end->finish_reason, "stop");
  EXPECT_FALSE(end->completion_tokens);
  const auto usage =
      read_chat_chunk(R"({"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5}})");
  EXPECT_EQ(usage->completion_tokens, 5);
  const auto error =
      read_chat_chunk(R"({"error":{"message":"gone","code":"replica_failed","param":null}})");
  ASSERT_TRUE(error->error);
  EXPECT_EQ(error->error->message, "gone");
  EXPECT_FALSE(read_chat_chunk("{").ok());
}

TEST(Stats, Rate_LeavesOutTheFirstTokenAndTheWaitForIt) {
  ChatAnswer answer;
  answer.cold = true;
  answer.first_token = 2s;
  answer.last_token = 4s;
  answer.completion_tokens = 21;
  EXPECT_DOUBLE_EQ(*answer.tokens_per_second(), 10);
  EXPECT_TRUE(stats_line(answer).starts_with("cold · first token"));
  answer.completion_tokens = 1;
  EXPECT_FALSE(answer.tokens_per_second());
}

TEST(CacheTable, ModelsAndTotals_AreShownWithTheirShares) {
  const auto cache = boost::json::parse(R"({"data":[
      {"sha256":"0123456789abcdef","names":["smollm2"],"in_cache":true,"bytes":200,"resident_bytes":100,
       "pinned":true,"uses":7,"last_used_ms":1000,"verified_ms":null,"functions":["a","b"],"template_bytes":0,
       "replicas":2},
      {"sha256":"fedcba9876543210","names":["/own.gguf"],"in_cache":false,"bytes":0,"functions":[]}],
    "disk":{"bytes":200,"budget_bytes":null,"free_bytes":900,"free_bytes_min":50,"quarantined_bytes":0}})");
  const std::string table = cache_table(cache, WallTime(std::chrono::milliseconds(6000)));
  for (const char* part :
       {"0123456789ab  smollm2", "50 %", "pinned", "5.0 s ago", "a, b", "fedcba987654  /own.gguf",
        "0 %", "own file", "200 B of no budget", "900 B free (50 B stay free)"})
    EXPECT_NE(table.find(part), std::string::npos) << part << "\n" << table;
  EXPECT_EQ(table.find("quarantine"), std::string::npos);
  EXPECT_TRUE(cache_table(boost::json::object{}, WallTime{}).starts_with("no models are held"));
}

TEST(Doctor, Check_SaysItsFixBelow) {
  EXPECT_EQ(format_check({"cores", Level::Ok, "8", ""}), "ok    cores         8");
  const std::string line = format_check({"worker", Level::Fail, "absent", "install it"});
  EXPECT_TRUE(line.starts_with("fail  worker        absent\n")) << line;
  EXPECT_NE(line.find("install it"), std::string::npos);
  EXPECT_EQ(check_worker("/nonexistent/glowplug-worker").level, Level::Fail);
  EXPECT_EQ(check_folder({"data folder", "/proc/version/x", 0}).level, Level::Fail);
}

}  // namespace
}  // namespace glowplug::cli
