#include <termios.h>
#include <unistd.h>

#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/json_fields.h"
#include "cli/wait.h"

namespace glowplug::cli {
namespace {

// Keys arrive one by one and unseen while this lives.
class KeyMode final {
 public:
  explicit KeyMode(int fd) : fd_(fd), changed_(::tcgetattr(fd, &before_) == 0) {
    if (!changed_) return;
    termios keys = before_;
    keys.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    ::tcsetattr(fd_, TCSANOW, &keys);
  }
  ~KeyMode() {
    if (changed_) ::tcsetattr(fd_, TCSANOW, &before_);
  }
  KeyMode(const KeyMode&) = delete;
  KeyMode& operator=(const KeyMode&) = delete;

 private:
  int fd_;
  termios before_{};
  bool changed_;
};

constexpr std::string_view kHomeAndClear = "\x1b[H\x1b[2J";

}  // namespace

int top(const Context& context) {
  const Console& console = context.console;
  if (context.json || !console.out_is_tty || !console.in_is_tty) return ps(context);
  const KeyMode keys(console.in_fd);
  while (true) {
    const Fetched got = fetch(context, context.server, {.target = "/v1/functions"});
    if (got.exit != 0) return got.exit;
    console.out << kHomeAndClear
                << fmt::format("glowplug at {}    q leaves\n\n", context.server.url())
                << functions_table(data_of(got.body)) << std::flush;
    const Waited waited =
        wait_for({.fd = console.in_fd, .cancel_fd = context.cancel_fd, .timeout = 1s});
    if (waited == Waited::Interrupted) return 0;
    if (waited == Waited::TimedOut) continue;
    char key = 0;
    if (::read(console.in_fd, &key, 1) <= 0 || key == 'q' || key == 'Q') return 0;
  }
}

}  // namespace glowplug::cli
