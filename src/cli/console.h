// Where a command writes: answers to `out`, progress and messages to `err`. Tests hand in string
// streams.
//
// Thread: one owner, the command that runs.
#pragma once

#include <ostream>
#include <string>
#include <string_view>

namespace glowplug::cli {

struct Console {
  std::ostream& out;
  std::ostream& err;
  int in_fd = 0;
  bool in_is_tty = false;
  bool out_is_tty = false;
  bool err_is_tty = false;
  bool err_colored = false;  // a TTY, and NO_COLOR is not set

  std::string dim(std::string_view text) const;
};

// The process's own streams, looked at once.
Console standard_console();

}  // namespace glowplug::cli
