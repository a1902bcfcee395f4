// Attempts of jobs in the loop of test_gateway.h, without a queue. Thread: as there.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <gmock/gmock.h>

#include "gateway/call_counts.h"
#include "gateway/test_gateway.h"
#include "queue/job_runner.h"

namespace glowplug::gateway {

using control::AttemptOutcome;
using domain::JobId;

inline std::string whole(std::string_view body, std::string_view status = "200 OK") {
  return "HTTP/1.1 " + std::string(status) +
         "\r\ncontent-type: application/json\r\ncontent-length: " + std::to_string(body.size()) +
         "\r\n\r\n" + std::string(body);
}

inline constexpr const char* kChat = "/v1/chat/completions";
inline constexpr const char* kInvoke = "/v1/functions/fn/invoke";
inline constexpr const char* kMessage =
    R"({"model":"fn","messages":[{"role":"user","content":"x"}]})";
inline const std::string kAnswer = R"({"model":"m","choices":[{"text":" world"}],)"
                                   R"("usage":{"prompt_tokens":9,"completion_tokens":2,)"
                                   R"("prompt_tokens_details":{"cached_tokens":7}}})";

// What an attempt has told.
struct Told {
  std::vector<std::string> order;  // without a second word of the same kind in a row
  std::optional<queue::AttemptAnswer> answer;
  int progressed = 0, ends = 0, stops = 0;
};

class JobRunnerTest : public GatewayTest {
 protected:
  explicit JobRunnerTest(Duration replica_pulse = domain::kReplicaPulse)
      : GatewayTest(replica_pulse) {
    for (const auto& [name, task, kind] :
         {std::tuple{"embed", domain::Task::Embed, domain::EngineKind::Fake},
          std::tuple{"rank", domain::Task::Rerank, domain::EngineKind::Fake},
          std::tuple{"proc", domain::Task::Generate, domain::EngineKind::Process}}) {
      platform_.views[name].manifest.name = name;
      platform_.views[name].manifest.task = task;
      platform_.views[name].manifest.engine.kind = kind;
    }
  }

  queue::JobRunner& runner() { return gateway_->job_runner(); }

  static queue::JobRequest request(const std::string& path, const std::string& body) {
    return {.function = "fn", .path = path, .body = body, .domain_salt = ""};
  }
  // `told` outlives the attempt.
  static queue::JobRunner::Heard hear(Told& told) {
    const auto note = [&told](const std::string& word) {
      if (told.order.empty() || told.order.back() != word) told.order.push_back(word);
    };
    return {.granted = [note] { note("granted"); },
            .progressed =
                [note, &told] {
                  note("progressed");
                  ++told.progressed;
                },
            .ended =
                [note, &told](queue::AttemptAnswer answer) {
                  note("ended");
                  ++told.ends;
                  told.answer = std::move(answer);
                },
            .stopped =
                [note, &told](const std::optional<domain::Receipt>&) {
                  note("stopped");
                  ++told.stops;
                }};
  }
  void begin(Told& told, JobId job = {1}, std::uint64_t fence = 1, const char* path = kChat,
             const std::string& body = kMessage) {
    runner().start(job, fence, request(path, body), hear(told));
  }
  queue::AttemptAnswer end_of(Told& told) {
    EXPECT_TRUE(run_until([&told] { return told.answer.has_value(); }));
    settle();
    EXPECT_EQ(told.ends, 1);
    return told.answer.value_or(queue::AttemptAnswer());
  }
  queue::AttemptAnswer run(const char* path = kChat, const std::string& body = kMessage,
                           JobId job = {1}) {
    Told told;
    begin(told, job, ++fence_, path, body);
    return end_of(told);
  }

  std::uint64_t fence_ = 0;
};

}  // namespace glowplug::gateway
