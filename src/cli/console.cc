#include "cli/console.h"

#include <cstdlib>
#include <iostream>
#include <unistd.h>

#include <fmt/format.h>

namespace glowplug::cli {

std::string Console::dim(std::string_view text) const {
  return err_colored ? fmt::format("\x1b[2m{}\x1b[0m", text) : std::string(text);
}

Console standard_console() {
  const char* no_color = std::getenv("NO_COLOR");
  const bool err_is_tty = ::isatty(STDERR_FILENO) == 1;
  return {.out = std::cout,
          .err = std::cerr,
          .in_fd = STDIN_FILENO,
          .in_is_tty = ::isatty(STDIN_FILENO) == 1,
          .out_is_tty = ::isatty(STDOUT_FILENO) == 1,
          .err_is_tty = err_is_tty,
          .err_colored = err_is_tty && (no_color == nullptr || *no_color == '\0')};
}

}  // namespace glowplug::cli
