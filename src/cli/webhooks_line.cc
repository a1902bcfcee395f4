#include "cli/webhooks_line.h"

#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "base/units.h"

namespace glowplug::cli {
namespace {

std::string check_word(const std::string& text) { return text.empty() ? "it is empty" : ""; }

std::string check_grace(const std::string& text) {
  return parse_duration(text) ? "" : fmt::format("'{}' is no duration; write 24h, 30m or 0s", text);
}

CLI::App* add(CLI::App& app, const char* name, const char* what) {
  CLI::App* command = app.add_subcommand(name, what);
  command->fallthrough();  // --json, --url and --admin-url may follow the command
  command->footer("Also on every command: --json, --url URL, --admin-url URL.");
  return command;
}

}  // namespace

void add_webhooks(CLI::App& app, WebhooksOptions& options,
                  std::function<int(const Context&)>& command) {
  CLI::App* webhooks_command =
      add(app, "webhooks", "List where events go, and change it; see what was delivered");
  webhooks_command->require_subcommand(0, 1);
  webhooks_command->callback([&options, &command] {
    command = [&options](const Context& context) { return webhooks(context, options); };
  });
  const auto verb = [&](const char* name, const char* what, const char* takes,
                        const char* description) {
    CLI::App* one = add(*webhooks_command, name, what);
    one->callback([&options, name] { options.verb = name; });
    one->add_option(takes, options.what, description)
        ->required()
        ->check(CLI::Validator(check_word, "ID"));
    return one;
  };
  verb("add", "Send events to an address", "url", "https://…")
      ->add_option("--events", options.events,
                   "Types with commas between, as job.completed,job.failed; else all");
  verb("rm", "Send no more there", "id", "The endpoint");
  verb("rotate", "Give an endpoint a new secret", "id", "The endpoint")
      ->add_option("--grace", options.grace, "For how long the old secret signs too")
      ->check(CLI::Validator(check_grace, "DURATION"))
      ->capture_default_str();
  verb("enable", "Send to a disabled endpoint again", "id", "The endpoint");
  verb("test", "Send an endpoint an event of type webhook.test", "id", "The endpoint");
  CLI::App* deliveries =
      verb("deliveries", "List what was, is and could not be delivered", "id", "The endpoint");
  deliveries->add_option("--status", options.status, "Only these")
      ->check(CLI::IsMember({"pending", "delivered", "dead"}));
  deliveries->add_option("--limit", options.limit, "How many, 100 at most")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  verb("replay", "Send a delivery again", "id", "The delivery, as whd_12");
}

}  // namespace glowplug::cli
