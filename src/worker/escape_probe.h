// What code that came with a prompt or a model would try, so that tests can see it fail in the very
// process that serves: the fake engine's fault `escape:WAY`.
//
// Thread: any. Does no harm when it succeeds: what it opens it closes.
#pragma once

#include <string_view>

namespace glowplug::worker {

// Tries one of domain::kEscapeWays and prints a line on stderr: "escape open_file: Permission
// denied", or "… succeeded".
void try_escape(std::string_view way);

// Takes so much memory once, writes it and keeps it.
void hold_memory(int megabytes);

}  // namespace glowplug::worker
