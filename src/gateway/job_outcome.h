// What came of a job's call, as its queue asks: whose fault it is, and so whether another attempt
// can help.
//
// Thread: pure functions.
#pragma once

#include <string_view>

#include "control/job_queue.h"

namespace glowplug::gateway {

enum class Granted { No, Yes };                       // a replica had it
enum class Standing { Sound, Quarantined, Leaving };  // of the function; Leaving: the server stops

struct CallFault {
  std::string_view code;  // of the error
  int status = 0;         // of it
  bool replica_broke = false;
};

control::AttemptOutcome outcome_of(const CallFault& fault, Granted granted, Standing standing);

// The request killed its replica, as it did others.
bool is_blamed(const CallFault& fault);

}  // namespace glowplug::gateway
