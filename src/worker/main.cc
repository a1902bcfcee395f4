// glowplug-worker: one replica. Reads its command line, ties its life to the server's and runs one
// engine.
#include <chrono>
#include <cstdio>
#include <fcntl.h>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "worker/control_channel.h"
#include "worker/fake_engine.h"
#include "worker/options.h"
#include "worker/process.h"
#include "worker/sandbox.h"
#include "worker/standby.h"
#ifdef GLOWPLUG_HAS_ENGINE
#include "worker/llama_engine.h"
#include "worker/llama_upload.h"
#include "worker/stand_in_model.h"
#endif

#ifndef GLOWPLUG_ENGINE_COMMIT
#define GLOWPLUG_ENGINE_COMMIT "none"
#endif

namespace glowplug::worker {
namespace {

constexpr int kBadArguments = 2;
constexpr int kStandbyControlFd = 3, kStandbyLifelineFd = 4;  // as the server gives them to each

int refuse(const std::string& message) {
  std::fprintf(stderr, "glowplug-worker: %s\n", message.c_str());
  return kBadArguments;
}

// False when the caller did not pass this descriptor.
bool adopt(int fd) { return ::fcntl(fd, F_SETFD, FD_CLOEXEC) == 0; }

int run(std::vector<std::string> arguments) {
  auto started = std::chrono::steady_clock::now();
  harden_process();
  std::optional<SandboxReport> namespaces;
  if (!arguments.empty() && arguments.front() == "--standby") {
    namespaces = enter_namespaces();
#ifdef GLOWPLUG_HAS_ENGINE
    open_device();
#endif
    auto told = await_start(kStandbyControlFd, kStandbyLifelineFd);
    if (!told) return 0;
    started = std::chrono::steady_clock::now();
    arguments = *std::move(told);
    harden_process();  // of the environment, which is another one now
  }
  auto parsed = parse_options(arguments);
  if (!parsed) return refuse(parsed.error().message);
  Options& options = *parsed;
  if (options.version) {
    std::printf("glowplug-worker %s protocol %d engine %s\n", GLOWPLUG_VERSION, kProtocol,
                GLOWPLUG_ENGINE_COMMIT);
    return 0;
  }
  if (!adopt(options.control_fd)) return refuse("--control-fd: the descriptor is not open");
  if (!adopt(options.lifeline_fd)) return refuse("--lifeline-fd: the descriptor is not open");

  ControlChannel channel{UniqueFd(options.control_fd)};
  UniqueFd lifeline(options.lifeline_fd);
  SandboxReport sandbox = namespaces ? *std::move(namespaces) : enter_namespaces();
  if (options.engine == EngineKind::kFake)
    return run_fake_engine(options, channel, std::move(lifeline), std::move(sandbox), started);
#ifdef GLOWPLUG_HAS_ENGINE
  if (!options.file_type.empty()) {
    Result<std::string> path = make_stand_in(options.model_path, options.file_type);
    if (!path) {
      channel.failed(path.error().message);
      return 1;
    }
    options.model_path = *std::move(path);
  }
  return run_llama_engine(options, channel, std::move(lifeline), std::move(sandbox), started);
#else
  channel.failed(
      "this glowplug-worker was built without llama.cpp; build it with -DGLOWPLUG_WORKER=ON");
  return 1;
#endif
}

}  // namespace
}  // namespace glowplug::worker

int main(int argc, char** argv) {
  return glowplug::worker::run(std::vector<std::string>(argv + 1, argv + argc));
}
