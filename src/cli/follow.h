// Follows a function's events until it is where the caller wants it: what is shown on the way is
// what the server says of it.
//
// A stream that breaks or ends before that is opened again, a bounded number of times; then the
// last reason is the failure.
//
// Thread: blocks the command that runs; Ctrl-C ends it.
#pragma once

#include <optional>
#include <string>

#include "cli/context.h"
#include "domain/tier.h"

namespace glowplug::cli {

struct FollowOptions {
  std::string name;
  domain::Tier until = domain::Tier::Replica;  // or nearer; Replica = one is ready
  // Sent before each stream is opened: a server that was restarted has forgotten the wish.
  std::optional<HttpRequest> wish;
};

// The function as it was said last; a failure is already reported.
Fetched follow(const Context& context, const FollowOptions& options);

}  // namespace glowplug::cli
