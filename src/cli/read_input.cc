#include "cli/read_input.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <string_view>
#include <unistd.h>

#include <fmt/format.h>

#include "base/unique_fd.h"
#include "cli/exit_code.h"
#include "cli/wait.h"
#include "domain/limits.h"

namespace glowplug::cli {
namespace {

enum class Piece { Some, End, Broken };

Piece read_piece(const Input& input, std::string& into) {
  std::array<char, 64 * 1024> buffer;
  while (true) {
    const Waited waited =
        wait_for({.fd = input.fd, .cancel_fd = input.cancel_fd, .timeout = Duration::max()});
    if (waited == Waited::Interrupted) {
      errno = EINTR;
      return Piece::Broken;
    }
    const ssize_t got = ::read(input.fd, buffer.data(), buffer.size());
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got < 0) return Piece::Broken;
    into.append(buffer.data(), static_cast<std::size_t>(got));
    return got == 0 ? Piece::End : Piece::Some;
  }
}

}  // namespace

Result<std::string> read_file(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid())
    return Error{std::string(kClientFailed),
                 fmt::format("cannot open '{}': {}", path, std::strerror(errno)), ""};
  return read_all({.fd = fd.get()});
}

Result<std::string> read_all(const Input& input) {
  std::string text;
  while (true) {
    switch (read_piece(input, text)) {
      case Piece::End: return text;
      case Piece::Broken:
        return Error{std::string(kClientFailed),
                     fmt::format("cannot read the input: {}", std::strerror(errno)), ""};
      case Piece::Some:
        if (text.size() > domain::kBodyBytesMax)
          return Error{std::string(kClientFailed),
                       fmt::format("the input is over {} bytes, which no request may be",
                                   domain::kBodyBytesMax),
                       ""};
    }
  }
}

std::optional<std::string> LineReader::next() {
  while (true) {
    if (const auto end = buffered_.find('\n'); end != std::string::npos) {
      std::string line = buffered_.substr(0, end);
      buffered_.erase(0, end + 1);
      return line;
    }
    if (buffered_.size() > domain::kBodyBytesMax || read_piece(input_, buffered_) != Piece::Some)
      return std::nullopt;
  }
}

}  // namespace glowplug::cli
