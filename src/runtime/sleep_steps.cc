#include "runtime/sleep_steps.h"

#include <optional>

#include <boost/json/parse.hpp>
#include <fmt/format.h>

#include "runtime/log_ring.h"

namespace glowplug::runtime {
namespace {

namespace json = boost::json;

constexpr std::size_t kShownBytesMax = 200;  // of an answer

std::optional<bool> says_sleeping(std::string_view body) {
  boost::system::error_code code;
  const json::value value = json::parse(json::string_view(body.data(), body.size()), code);
  if (code || !value.is_object()) return std::nullopt;
  const json::value* said = value.get_object().if_contains("is_sleeping");
  return said != nullptr && said->is_bool() ? std::optional(said->get_bool()) : std::nullopt;
}

SleepStep post(std::string target, std::string body = {}) {
  return {.method = HttpMethod::Post, .target = std::move(target), .body = std::move(body)};
}

SleepStep get(std::string target, Until until) {
  return {.target = std::move(target), .until = until};
}

}  // namespace

std::vector<SleepStep> sleep_steps(const domain::EngineSleep& how) {
  if (how.kind == domain::SleepKind::Sglang) return {post("/release_memory_occupation", "{}")};
  return {post(fmt::format("/sleep?level={}", how.level)), get("/is_sleeping", Until::SaysAsleep)};
}

std::vector<SleepStep> wake_steps(const domain::EngineSleep& how) {
  if (how.kind == domain::SleepKind::Sglang)
    return {post("/resume_memory_occupation", "{}"), get("/health_generate", Until::Healthy)};
  if (how.level == 1) return {post("/wake_up"), get("/is_sleeping", Until::SaysAwake)};
  return {post("/wake_up?tags=weights"), post("/collective_rpc", R"({"method":"reload_weights"})"),
          post("/wake_up?tags=kv_cache"), get("/is_sleeping", Until::SaysAwake),
          post("/reset_prefix_cache")};
}

Verdict judge(const SleepStep& step, const ReplicaReply& reply) {
  const bool ok = reply.status >= 200 && reply.status < 300;
  if (step.until == Until::Healthy) return ok ? Verdict::Done : Verdict::Again;
  if (!ok) return Verdict::Failed;
  if (step.until == Until::Accepted) return Verdict::Done;
  const std::optional<bool> sleeping = says_sleeping(reply.body);
  if (!sleeping) return Verdict::Failed;
  return *sleeping == (step.until == Until::SaysAsleep) ? Verdict::Done : Verdict::Again;
}

std::string in_words(const SleepStep& step, const Result<ReplicaReply>& reply) {
  const std::string asked =
      fmt::format("{} {}", step.method == HttpMethod::Get ? "GET" : "POST", step.target);
  if (!reply) return fmt::format("{}: {}", asked, reply.error().message);
  const std::string said = printable(std::string_view(reply->body).substr(0, kShownBytesMax));
  return fmt::format("{} answered {}{}{}", asked, reply->status, said.empty() ? "" : ": ", said);
}

}  // namespace glowplug::runtime
