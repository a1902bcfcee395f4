#include <algorithm>

#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/json_fields.h"
#include "cli/machine_probe.h"

namespace glowplug::cli {
namespace {

bool answers(const Result<HttpReply>& reply) { return reply.ok() && reply->succeeded(); }

// A port is checked only where no server of ours answers: one that does holds it rightly.
void add_server_checks(const Context& context, const DoctorOptions& options,
                       std::vector<Check>& checks) {
  const HttpRequest request{.target = "/version", .idle_timeout = 2s};
  const Result<HttpReply> server = context.server.send(request);
  if (answers(server)) {
    const Result<boost::json::value> body = parse_json(server->body);
    checks.push_back(
        {"server", Level::Ok,
         fmt::format("{} answers at {}", body ? text_field(*body, "version") : "something",
                     context.server.url()),
         ""});
  } else if (server.ok()) {
    checks.push_back({"server", Level::Fail,
                      fmt::format("{} answers {}", context.server.url(), server->status),
                      "check --url, and GLOWPLUG_API_KEY where the server asks for a key"});
  } else {
    checks.push_back({"server", Level::Warn,
                      fmt::format("no server answers at {}", context.server.url()),
                      "start one with: glowplug serve"});
    checks.push_back(check_port({"port", options.listen}));
  }
  if (answers(context.admin.send(request))) {
    checks.push_back({"admin server", Level::Ok, "answers at " + context.admin.url(), ""});
  } else if (answers(server)) {
    checks.push_back({"admin server", Level::Warn, "does not answer at " + context.admin.url(),
                      "give --admin-url or GLOWPLUG_ADMIN_URL"});
  } else {
    checks.push_back(check_port({"admin port", options.admin_listen}));
  }
}

}  // namespace

int doctor(const Context& context, const DoctorOptions& options) {
  std::vector<Check> checks = check_kernel();
  checks.push_back(check_cores());
  checks.push_back(check_memory());
  checks.push_back(check_folder({"data folder", options.data_dir, 256ull << 20}));
  checks.push_back(check_folder({"cache folder", options.cache_dir, 4ull << 30}));
  checks.push_back(check_worker(options.worker_path));
  add_server_checks(context, options, checks);

  const bool failed = std::any_of(checks.begin(), checks.end(),
                                  [](const Check& check) { return check.level == Level::Fail; });
  if (context.json) {
    boost::json::array list;
    for (const Check& check : checks) list.push_back(to_json(check));
    print_json(context, boost::json::object{{"ok", !failed}, {"checks", std::move(list)}});
  } else {
    for (const Check& check : checks) context.console.out << format_check(check) << "\n";
    context.console.out << std::flush;
  }
  return to_int(failed ? ExitCode::Failed : ExitCode::Done);
}

}  // namespace glowplug::cli
