#include "worker/process.h"

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <pthread.h>
#include <string>
#include <string_view>
#include <thread>
#include <unistd.h>
#include <vector>

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

namespace glowplug::worker {
namespace {

constexpr std::chrono::seconds kStopLimit{5};

void drop_engine_environment() {
  std::vector<std::string> names;
  for (char** entry = environ; entry && *entry; ++entry) {
    const std::string_view text(*entry);
    for (std::string_view prefix : {"LLAMA_", "GGML_", "AIP_"}) {
      if (text.starts_with(prefix)) names.emplace_back(text.substr(0, text.find('=')));
    }
  }
  for (const std::string& name : names) ::unsetenv(name.c_str());
  // The engine's own answer to a failed assertion is to start a debugger.
  ::setenv("GGML_NO_BACKTRACE", "1", 1);
}

sigset_t stop_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

}  // namespace

void harden_process() {
  ::prctl(PR_SET_NAME, "glowplug-worker", 0, 0, 0);
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  std::signal(SIGPIPE, SIG_IGN);
  ::umask(0077);  // The socket is for the server's user alone.
  const sigset_t signals = stop_signals();
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  drop_engine_environment();
}

bool stop_is_pending() {
  sigset_t pending;
  ::sigpending(&pending);
  return sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1;
}

void watch_lifeline(UniqueFd lifeline) {
  std::thread([lifeline = std::move(lifeline)] {
    std::array<char, 16> ignored;
    for (;;) {
      const ssize_t count = ::read(lifeline.get(), ignored.data(), ignored.size());
      if (count == 0 || (count < 0 && errno != EINTR)) ::_exit(0);
    }
  }).detach();  // tidy: because it owns what it uses and ends with the process
}

void watch_stop_signal(std::function<void()> on_stop) {
  std::thread([on_stop = std::move(on_stop)] {
    const sigset_t signals = stop_signals();
    int signal = 0;
    while (::sigwait(&signals, &signal) != 0) {}
    std::thread([] {
      std::this_thread::sleep_for(kStopLimit);  // tidy: because it is the watchdog's own time
      ::_exit(0);
    }).detach();  // tidy: because it ends the process
    on_stop();
  }).detach();  // tidy: because it owns what it uses and ends with the process
}

}  // namespace glowplug::worker
