// What the process answers to a script. One list for all commands; scripts may rely on it.
// Thread: pure values.
#pragma once

#include <string_view>

namespace glowplug::cli {

enum class ExitCode : int {
  Done = 0,
  Failed = 1,
  Usage = 2,
  NotFound = 3,
  Unreachable = 4,
  Refused = 5
};

// Codes of errors that arise in the client itself; they never cross the wire.
inline constexpr std::string_view kServerUnreachable = "server_unreachable";
inline constexpr std::string_view kInterrupted = "interrupted";
inline constexpr std::string_view kTimedOut = "client_timeout";
inline constexpr std::string_view kBadReply = "bad_reply";
inline constexpr std::string_view kUsage = "usage";
inline constexpr std::string_view kClientFailed = "client_error";

constexpr int to_int(ExitCode code) { return static_cast<int>(code); }

constexpr ExitCode exit_code_for_status(int status) {
  if (status >= 200 && status < 300) return ExitCode::Done;
  if (status == 404) return ExitCode::NotFound;
  if (status == 401 || status == 403 || status == 429) return ExitCode::Refused;
  return ExitCode::Failed;
}

constexpr ExitCode exit_code_for_error(std::string_view code) {
  if (code == kServerUnreachable) return ExitCode::Unreachable;
  if (code == kUsage) return ExitCode::Usage;
  return ExitCode::Failed;
}

}  // namespace glowplug::cli
