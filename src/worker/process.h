// What the worker does as a process: it cannot be dumped or traced by its neighbours, it dies with
// the server, and SIGTERM reaches it as an ordinary call on an ordinary thread.
//
// Thread: harden_process() first thing in main, before any thread exists; the rest once from main.
#pragma once

#include <functional>

#include "base/unique_fd.h"

namespace glowplug::worker {

// No core dumps, no ptrace by the same user, SIGPIPE ignored, SIGTERM and SIGINT blocked in every
// thread that follows, and no environment variable that the engine would read as a setting.
void harden_process();

// Whether SIGTERM or SIGINT has come and waits: for loading, before watch_stop_signal().
bool stop_is_pending();

// Ends the process at once, without running any destructor, when the pipe's other end is closed.
void watch_lifeline(UniqueFd lifeline);

// Calls on_stop once, on a thread of its own, when SIGTERM or SIGINT arrives; when on_stop or what
// it set in motion has not ended the process 5 s after the signal, the process ends anyway with
// status 0.
void watch_stop_signal(std::function<void()> on_stop);

}  // namespace glowplug::worker
