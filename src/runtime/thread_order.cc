#include "runtime/thread_order.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>

#include <fmt/format.h>

#include "base/unique_fd.h"
#include "domain/errors.h"
#include "runtime/order.h"

namespace glowplug::runtime {

// The descriptor means nothing: every order brings one.
Result<void> order_threads(int control, int threads) {
  const UniqueFd nothing(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!nothing.valid())
    return Error{std::string(domain::error::kFunctionFailed),
                 fmt::format("/dev/null cannot be opened: {}", std::strerror(errno)),
                 {}};
  const int descriptor = nothing.get();
  return send_order(control, {{"threads", threads}}, {&descriptor, 1});
}

}  // namespace glowplug::runtime
