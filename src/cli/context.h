// What every client command has at hand, and the one way in which commands ask the server and
// report failures.
//
// A failure goes to stderr as a sentence, with --json also to stdout as {"error": {...}}, and
// becomes an exit code.
//
// Thread: one command at a time.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include <boost/json/value.hpp>

#include "base/clock.h"
#include "cli/console.h"
#include "cli/exit_code.h"
#include "cli/http_client.h"

namespace glowplug::cli {

struct Context {
  const HttpClient& server;
  const HttpClient& admin;
  const Console& console;
  const Clock& clock;
  int cancel_fd = -1;  // readable after Ctrl-C; borrowed
  bool json = false;
  Duration reconnect_pause = 500ms;  // before a broken stream is opened again; doubled each time
};

struct Fetched {
  int exit = 0;  // not 0: the failure is already reported
  boost::json::value body;
};

// Sends, reports a failure if there is one, and reads the body; a reply without a body gives null.
Fetched fetch(const Context& context, const HttpClient& client, const HttpRequest& request);

int report_error(const Context& context, const Error& error);
int report_refusal(const Context& context, const HttpReply& reply);  // a reply that is not 2xx

void print_json(const Context& context, const boost::json::value& value);
std::string to_text(const boost::json::value& value);

// Asks for the list at `target` and prints it: with --json as it came, else as `shown` has it.
int print_list(const Context& context, const std::string& target,
               const std::function<std::string(const boost::json::array&)>& shown);

// "/v1/functions/NAME" + suffix, with the name made safe for a path.
std::string function_target(std::string_view name, std::string_view suffix = "");

// False when Ctrl-C came first.
[[nodiscard]] bool pause(const Context& context, Duration duration);

}  // namespace glowplug::cli
