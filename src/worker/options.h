// The command line of glowplug-worker. The server is its only caller, so every option has one
// spelling and a bad one is refused by name. Tokens and milliseconds are in the option's comment.
//
// Thread: pure functions over values. Opens no file: whether a path exists is for the engine to
// say.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "domain/engine_settings.h"

namespace glowplug::worker {

inline constexpr int kProtocol = 4;

enum class EngineKind { kLlama, kFake };
enum class Task { kGenerate, kEmbed, kRerank };

enum class FakeFault {
  kNone,
  kCrashOnLoad,       // dies by SIGABRT half way through loading
  kNeverReady,        // loads half way and then says nothing more
  kExitAfterLoad,     // says ready, then exits with status 3
  kCrashAfterTokens,  // dies by SIGABRT once one answer has this many tokens
  kCrashOnPrompt,     // dies by SIGABRT of a prompt that has this text in it
  kEscape,  // each answer begins with an attempt to leave the sandbox; the log says how it went
  kHoldMegabytes,    // takes so much memory with its first answer, and keeps it
  kHangAfterTokens,  // one answer stops growing at this many tokens and its connection stays open
};

struct FakeOptions {
  int load_ms = 0;
  double tokens_per_second = 0;  // of one answer; 0 means as fast as it goes
  FakeFault fault = FakeFault::kNone;
  int fault_tokens = 0;    // or megabytes
  std::string fault_text;  // one of domain::kEscapeWays, or of a prompt
};

struct Options {
  bool version = false;  // print the version and exit; nothing else is then required
  EngineKind engine = EngineKind::kLlama;
  bool is_template = false;  // load, then fork replicas on order instead of serving
  bool warm = false;         // compute a dummy batch before it is ready; a fork's order says it too
  bool measures = false;     // load, say on stdout how fast it is, and end
  std::string socket_path;   // of a replica
  int control_fd = -1;
  int lifeline_fd = -1;
  Task task = Task::kGenerate;
  int context = 0;  // tokens of one slot
  int slots = 0;
  int threads = 0;
  int cores = 0;  // threads that it may be told to compute with later; at least `threads`
  domain::Tuning tuning;
  std::string file_type;  // with measures: of a file of the same shape with random weights
  std::string model_path;
  std::string chat_template_path;
  FakeOptions fake;
};

[[nodiscard]] Result<Options> parse_options(const std::vector<std::string>& arguments);

}  // namespace glowplug::worker
