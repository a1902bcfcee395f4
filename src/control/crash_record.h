// Deaths of a function's replicas while they served: of what, and which calls ran on them. From it
// the brain tells a crash loop (the function's fault) from a request that kills whatever runs it.
//
//   call 7 runs, with others ──▶ replica dies ──▶ its retry, call 9, runs alone ──▶ replica dies
//                                    │ a death of 7 and others                          │
//                                    └──────────── both are of one request ◀────────────┘
//
// Whether the request is to blame, policy/retry says. Where nobody was answered yet that stays
// open: the deaths count, until an answer shows that the function is sound.
//
// Thread: a value of the brain's.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/time_types.h"
#include "domain/ids.h"

namespace glowplug::control {

struct CallAboard {
  domain::CallId call;
  std::optional<domain::CallId> retry_of;  // the same request, on a replica that died
};

struct ServingDeath {
  Time at{};
  int revision = 0;
  std::string cause;  // how it ended, without what it said last
  std::vector<CallAboard> calls = {};
  std::optional<domain::CallId> request = {};  // whose second victim it is, if it is
  bool forgiven = false;                       // a request is to blame, not the function
};

// "killed by signal 6 (Aborted)" of "killed by signal 6 (Aborted): ggml_assert failed".
std::string_view how_it_ended(std::string_view cause);

class CrashRecord final {
 public:
  void add(ServingDeath death);
  bool is_loop(int revision, std::string_view cause, Time now) const;

  // The replicas that died while they ran this call; its retries are other calls.
  int deaths_of(domain::CallId call) const;
  // They count no more as the function's.
  void forgive(domain::CallId call);
  // This revision has answered a call: the oldest request that is under suspicion there is to blame
  // for what it killed. False where none is.
  bool forgive_suspect(int revision);
  void forget(int revision);

 private:
  static constexpr std::size_t kKept = 64;  // the latest

  std::vector<ServingDeath> deaths_;  // the oldest first
};

}  // namespace glowplug::control
