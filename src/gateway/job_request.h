// What a caller says of a job: the body of POST /v1/jobs, and the headers that make a job of any
// call (Prefer, X-Invocation-Type, Cancel-After, Idempotency-Key), or go with it (traceparent).
//
// Thread: pure functions. Private to gateway/.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/time_types.h"
#include "domain/limits.h"
#include "queue/job_service.h"

namespace glowplug::gateway {

// How a call wants to be answered. `respond-async` is 202 at once; with `wait` its answer, if it
// comes so soon, else 202.
struct Preference {
  bool async = false;
  std::optional<Duration> wait;
  bool wants_job() const { return async || wait; }
};
Result<Preference> read_preference(std::string_view prefer, std::string_view invocation_type);

// Bare or quoted, up to 255 characters; none where there is none. `route` is the path asked for.
Result<std::optional<storage::IdempotencyKey>> read_key(std::string_view header,
                                                        std::string_view route,
                                                        std::string_view body);

// `Cancel-After: 10m`: how long the call may take, waiting included.
Result<std::optional<Duration>> read_cancel_after(std::string_view header);

// As W3C Trace Context has it, for what is told of the job. Empty where there is none, or one that
// is malformed: that is no fault of the request.
std::string usable_traceparent(std::string_view header);

// `?wait=5`, of at most kJobWaitMax.
Result<Duration> read_wait(std::string_view seconds);

// What POST /v1/jobs asks of the server.
struct JobRules {
  // The function's own, which counts where the job says none.
  std::function<std::optional<Duration>(const std::string& function)> timeout_of;
  // Whether webhooks may go to an address that the job names.
  std::function<Result<void>(const std::string& url)> check_webhook;
};
Result<queue::Submission> read_job(std::string_view body, const JobRules& rules);

}  // namespace glowplug::gateway
