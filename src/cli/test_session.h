// A command's surroundings in tests: a server that gives prepared answers, and what was written.
// Thread: one test.
#pragma once

#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "cli/context.h"
#include "cli/test_server.h"

namespace glowplug::cli {

enum class Output { Text, Json };

// A command against a server that gives these answers, with what it wrote.
struct Session {
  explicit Session(std::vector<std::string> answers, Output output = Output::Text)
      : server(std::move(answers)),
        client(*HttpClient::create({.url = server.url()})),
        console{.out = out, .err = err},
        context{.server = client,
                .admin = client,
                .console = console,
                .clock = clock,
                .json = output == Output::Json,
                .reconnect_pause = 0ms} {}

  TestServer server;
  HttpClient client;
  std::ostringstream out;
  std::ostringstream err;
  Console console;
  ManualClock clock;
  Context context;
};

}  // namespace glowplug::cli
