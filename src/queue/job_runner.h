// Who runs an attempt of a job: the gateway, the way it runs a client's call, without a client.
// Thread: the server loop, callbacks too.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/time_types.h"
#include "control/job_queue.h"
#include "domain/job.h"
#include "domain/phase.h"
#include "domain/receipt.h"
#include "policy/device_time.h"

namespace glowplug::queue {

// As it was accepted; it is read and checked again at each attempt, because the function may have
// changed since.
struct JobRequest {
  std::string function;
  std::string path;  // of the route that it was accepted on, or "/v1/chat/completions" of a batch
  std::string body;  // JSON as it came
  std::string domain_salt;  // cache_salt of its caller
  domain::JobUrgency urgency = domain::JobUrgency::Interactive;
};

// Of one attempt. `body` is what a synchronous caller would have got, with its status.
struct AttemptAnswer {
  std::string request_id;  // req_…, by which `glowplug why` has it
  control::AttemptOutcome outcome = control::AttemptOutcome::Answered;
  bool blamed = false;
  std::optional<Duration> retry_after;
  int status = 0;
  std::string body;
  std::string code;     // of an error
  std::string message;  // of an error
  bool cold = false;
  int revision = 0;
  domain::PhaseTimes phases;
  std::int64_t prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0;
  // Of this attempt; none where no replica had it. Its job's row (storage::insert_usage) is that of
  // the attempt that is its result, with the platform's part of all.
  std::optional<domain::Receipt> receipt = {};
};

class JobRunner {
 public:
  struct Heard {
    std::function<void()> granted;             // a replica has it
    std::function<void()> progressed;          // something came from it
    std::function<void(AttemptAnswer)> ended;  // last, exactly once, unless stop() came first
    // After stop(), exactly once and from a later turn, when nothing more is done for it: what it
    // has come to; none where no replica had it.
    std::function<void(std::optional<domain::Receipt>)> stopped;
  };
  virtual ~JobRunner() = default;

  // Whether it could run now: the error that a synchronous caller would get. Errors:
  // model_not_found, those of a request's fields.
  virtual Result<void> check(const JobRequest& request) = 0;
  virtual void start(domain::JobId job, std::uint64_t fence, JobRequest request, Heard heard) = 0;
  // Also after its end, which changes nothing. `payer`: of what it has come to.
  virtual void stop(domain::JobId job, std::uint64_t fence, policy::Payer payer) = 0;
};

}  // namespace glowplug::queue
