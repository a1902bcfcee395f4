// `glowplug jobs` and `glowplug dead-letters`: what was accepted to be answered later.
#include <ctime>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <fmt/chrono.h>
#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/json_fields.h"
#include "cli/table.h"

namespace glowplug::cli {
namespace {

namespace json = boost::json;

constexpr int kWaitSeconds = 60;  // of one request; asked again until the job is over

int misused(const Context& context, const std::string& what) {
  return report_error(context, {std::string(kUsage),
                                what + "; write: glowplug jobs [ID [--wait] | cancel ID | "
                                       "retry ID | rm ID] [--status STATUS] [--function NAME]",
                                ""});
}

std::string job_target(const std::string& id, const std::string& suffix = "") {
  return "/v1/jobs/" + percent_encode(id) + suffix;
}

std::string ms_shown(const json::value& job, std::string_view name) {
  const json::value* value = field(job, name);
  return value == nullptr || !value->is_number() ? "-"
                                                 : fmt::format("{:.0f}", number_field(job, name));
}

std::string error_shown(const json::value& job) {
  const json::value* error = field(job, "error");
  return error != nullptr && error->is_object() ? text_field(*error, "code") : "";
}

bool is_over(const json::value& job) {
  const std::string status = text_field(job, "status");
  return !status.empty() && status != "queued" && status != "in_progress";
}

int show_list(const Context& context, const std::string& target, const std::string& none) {
  return print_list(context, target, [&none](const json::array& jobs) {
    return jobs.empty() ? none + "\n" : jobs_table(jobs);
  });
}

void show_job(const Context& context, const json::value& job) {
  if (context.json) return print_json(context, job);
  context.console.out << jobs_table({job});
  const json::value* error = field(job, "error");
  if (error != nullptr && error->is_object())
    context.console.out << "\n" << text_field(*error, "message") << "\n";
  const json::value* result = field(job, "result");
  if (result != nullptr && result->is_object() && field(*result, "body") != nullptr)
    context.console.out << "\n" << to_text(*field(*result, "body")) << "\n";
  context.console.out << std::flush;
}

// With `wait`, what became of the job is the exit code too.
int show_one(const Context& context, const std::string& id, bool wait) {
  const std::string query = wait ? fmt::format("?wait={}", kWaitSeconds) : "";
  while (true) {
    const Fetched got = fetch(context, context.server,
                              {.target = job_target(id, query),
                               .idle_timeout = std::chrono::seconds(kWaitSeconds) + 30s});
    if (got.exit != 0) return got.exit;
    if (wait && !is_over(got.body)) continue;
    show_job(context, got.body);
    const bool failed = wait && text_field(got.body, "status") != "completed";
    return to_int(failed ? ExitCode::Failed : ExitCode::Done);
  }
}

int change(const Context& context, const std::string& action, const std::string& id) {
  const bool removes = action == "rm";
  const Fetched got = fetch(context, context.server,
                            {.method = removes ? "DELETE" : "POST",
                             .target = job_target(id, removes ? "" : "/" + action),
                             .body = removes ? "" : "{}"});
  if (got.exit != 0) return got.exit;
  if (context.json)
    print_json(context,
               removes ? json::value(json::object{{"id", id}, {"deleted", true}}) : got.body);
  else
    context.console.out << fmt::format("{}: {}", id,
                                       removes ? "removed" : text_field(got.body, "status"))
                        << std::endl;
  return 0;
}

}  // namespace

std::string jobs_table(const json::array& jobs) {
  std::vector<std::vector<std::string>> rows;
  for (const json::value& job : jobs) {
    const auto created = static_cast<std::time_t>(number_field(job, "created_at"));
    const json::value* dead = field(job, "dead_lettered");
    const bool dead_lettered = dead != nullptr && dead->is_bool() && dead->as_bool();
    rows.push_back(
        {text_field(job, "id"), text_field(job, "function"),
         text_field(job, "status") + (dead_lettered ? " (dead)" : ""),
         fmt::format("{}/{}", number_field(job, "attempt"), number_field(job, "max_attempts")),
         fmt::format("{:%Y-%m-%d %H:%M:%S}", fmt::gmtime(created)), ms_shown(job, "queue_ms"),
         ms_shown(job, "load_ms"), ms_shown(job, "exec_ms"), error_shown(job)});
  }
  return layout_table({{"JOB"},
                       {"FUNCTION"},
                       {"STATUS"},
                       {"TRY", Align::Right},
                       {"CREATED (UTC)"},
                       {"QUEUE ms", Align::Right},
                       {"LOAD ms", Align::Right},
                       {"EXEC ms", Align::Right},
                       {"ERROR"}},
                      rows);
}

int jobs(const Context& context, const JobsOptions& options) {
  const std::vector<std::string>& words = options.words;
  if (words.empty()) {
    if (options.wait) return misused(context, "--wait takes one ID");
    std::string target = fmt::format("/v1/jobs?limit={}", options.limit);
    if (!options.status.empty()) target += "&status=" + percent_encode(options.status);
    if (!options.function.empty()) target += "&function=" + percent_encode(options.function);
    return show_list(context, target, "no jobs; send one with: glowplug invoke NAME --async");
  }
  const std::string& action = words.front();
  if (action == "cancel" || action == "retry" || action == "rm") {
    if (words.size() != 2) return misused(context, action + " takes one ID");
    return change(context, action, words[1]);
  }
  if (words.size() != 1)
    return misused(context, fmt::format("'{}' is nothing that jobs does", action));
  return show_one(context, action, options.wait);
}

int dead_letters(const Context& context, const DeadLettersOptions& options) {
  const std::vector<std::string>& words = options.words;
  if (words.empty())
    return show_list(context, fmt::format("/v1/dead-letters?limit={}", options.limit),
                     "no dead letters");
  if (words.front() != "redrive")
    return report_error(context, {std::string(kUsage),
                                  fmt::format("'{}' is nothing that dead-letters does; write: "
                                              "glowplug dead-letters [redrive [ID…]]",
                                              words.front()),
                                  ""});
  json::object body;
  if (words.size() > 1) body["ids"] = json::array(words.begin() + 1, words.end());
  const Fetched got =
      fetch(context, context.server,
            {.method = "POST", .target = "/v1/dead-letters/redrive", .body = to_text(body)});
  if (got.exit != 0) return got.exit;
  if (context.json)
    print_json(context, got.body);
  else
    context.console.out << fmt::format("{} queued anew", number_field(got.body, "redriven"))
                        << std::endl;
  return 0;
}

}  // namespace glowplug::cli
