// A job as clients see it. Thread: pure functions. Private to gateway/.
#pragma once

#include <cstdint>

#include <boost/json/object.hpp>

#include "gateway/error_body.h"
#include "storage/job_store.h"

namespace glowplug::gateway {

// Without `result` where the view has none (lists).
boost::json::object job_object(const storage::JobView& view);

// Its end as an error: of a job that is over without an answer.
Error end_error(const storage::JobView& view);

// Rises with each change of the job's state, over retries and restarts too: the id of its event.
//   3·fence      the attempt runs      3·fence + 1   queued after it      3·fence + 2   over
std::uint64_t event_id(const storage::JobView& view);

}  // namespace glowplug::gateway
