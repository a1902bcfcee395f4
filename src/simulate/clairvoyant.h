// The keep-alive of who knows all calls to come, to compare with: a replica stays until the next
// call of its function where that comes within keep_alive, and else goes at once. No other rule
// holds less for as few starts, as far as replicas and functions do not get in each other's way.
//
// It is the source of its calls, too: it reads another one to the end and holds it in memory.
//
// Thread: one owner.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "simulate/request.h"

namespace glowplug::simulate {

class Clairvoyant final : public RequestSource {
 public:
  static Result<Clairvoyant> of(RequestSource& source);  // the error is the source's

  Result<std::optional<Request>> next() override;
  const std::vector<std::string>& functions() const override { return functions_; }
  bool knows_all() const override { return true; }

  // For the call that was last taken of that function; of no call, zero.
  Duration keep_alive(std::uint32_t function, Duration most);

 private:
  std::vector<std::string> functions_;
  std::vector<Request> calls_;
  std::size_t taken_ = 0;
  std::vector<std::deque<Duration>> times_;  // by function, of calls whose end is not yet decided
};

}  // namespace glowplug::simulate
