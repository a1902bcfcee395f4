// How one replica is started, decided before anything runs: program, arguments, environment, paths,
// readiness.
//
// Built-in engines run the worker program with the control protocol; a process engine runs the
// owner's own command with its placeholders replaced and is asked over HTTP whether it is ready.
// The environment is built from nothing, so that no secret of the server reaches a replica.
//
// Thread: pure functions, except find_program and check_chat_template, which look at the file
// system. Starts nothing.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time_types.h"
#include "control/effects.h"
#include "control/platform.h"

namespace glowplug::runtime {

// Where the server keeps what a start needs.
struct LaunchPlaces {
  std::string worker_path;
  std::string run_dir;
  std::string server_url;
  std::string templates_dir;
};

// The few variables of the server's own environment that a replica gets. TZ is left out when empty.
struct BaseEnvironment {
  std::string path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  std::string home = "/";
  std::string lang = "C.UTF-8";
  std::string tz;
};

// Fails where the chat template that the manifest names, a shipped one or a file, cannot be read;
// says what to write instead.
Result<void> check_chat_template(const domain::Manifest& manifest,
                                 const std::string& templates_dir);

enum class Readiness { ControlChannel, Http };

struct LaunchPlan {
  std::string program;  // the file to execute
  std::vector<std::string> argv;
  std::vector<std::string> env;     // NAME=value, sorted by name
  std::string folder;               // private to the process, removed when it is gone
  control::Endpoint endpoint;       // of a replica
  int threads = 1;                  // told to a forked replica, which has no command line
  int cores = 1;                    // threads that it may be told later; the same
  bool warm = false;                // the same
  std::vector<std::string> primes;  // of a template that is forked from another
  domain::SharedTokens prime;       // of one too: a prompt that has no text; null = none
  int slots = 0;                    // whose prompt states may be kept; 0 = it has none of ours
  Readiness readiness = Readiness::ControlChannel;
  std::string ready_path;    // Http only
  Duration start_timeout{};  // Http only
};

// Names the variable of a replica's environment that holds its folder; leftovers.cc finds strays by
// it.
inline constexpr std::string_view kReplicaVariable = "GLOWPLUG_REPLICA";

// Of a worker that is started ahead, and told later what it is to be.
LaunchPlan plan_standby(const std::string& worker_path, const BaseEnvironment& base);

BaseEnvironment base_environment();  // of this process, with the defaults above where it has none

// Whether the replica listens on a port, so that a free one must be found first.
bool wants_port(const domain::Manifest& manifest);

// `port` is used only where wants_port() says so.
Result<LaunchPlan> plan_launch(const control::StartProcess& start, const LaunchPlaces& places,
                               const BaseEnvironment& base, int port);

// The executable that `command` names, searched in `path` as a shell does; nothing when there is
// none.
std::optional<std::string> find_program(const std::string& command, std::string_view path);

}  // namespace glowplug::runtime
