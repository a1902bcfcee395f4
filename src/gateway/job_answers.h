// How a call becomes a job and how its end is waited for, in coroutines; and calls with a key that
// are answered at once.
//
// Thread: the server loop. Private to gateway/.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "gateway/awaited.h"
#include "gateway/exchange.h"
#include "gateway/inference_routes.h"
#include "gateway/job_request.h"

namespace glowplug::gateway {

// Null with its refusal where this server has no jobs.
queue::JobService* jobs_of(const Server& server);
Error no_jobs();

Coroutine<Result<storage::JobView>> look_at(Server& server, domain::JobId job);

// Waits until the job is over, `most` has passed, the client has left (none then) or the server
// drains; the job as it is then.
Coroutine<std::optional<Result<storage::JobView>>> wait_for_end(Exchange& exchange,
                                                                domain::JobId job, Duration most);

inline constexpr std::string_view kReplayed = "idempotent-replayed: true\r\n";

// Once it is on the disk.
Coroutine<Result<queue::Accepted>> accept_job(Exchange& exchange, queue::Submission submission);

// A submission from its acceptance to the answer: 202, the answer itself where `wait` was long
// enough, what its key stands for, or a refusal. None: the client has left.
Coroutine<std::optional<Reply>> answer_job(Exchange& exchange, queue::Submission submission,
                                           Preference preference);

// What the headers say of any call; the request as it came.
struct CallHeaders {
  Preference preference;
  std::optional<storage::IdempotencyKey> key;
  std::optional<Duration> cancel_after;
};
Result<CallHeaders> read_call_headers(const Exchange& exchange);
// A job is judged now and read again when it runs.
Purpose purpose_of(const Result<CallHeaders>& headers);

// A call of this function as a job of the route that it came by.
queue::Submission submission_of(const Exchange& exchange, const std::string& function,
                                const CallHeaders& headers);

// A call with a key that is answered at once. It gives its key back however it ends.
class KeyedCall final {
 public:
  explicit KeyedCall(Server& server) : server_(server) {}
  ~KeyedCall();
  KeyedCall(const KeyedCall&) = delete;
  KeyedCall& operator=(const KeyedCall&) = delete;

  // The answer where it is known already or must not be given; else the call is this one's.
  Coroutine<std::optional<Reply>> begin(Exchange& exchange,
                                        std::optional<storage::IdempotencyKey> key);
  // Keeps an answer that a repeat may get, before it goes out.
  Coroutine<> keep(const Reply& reply);

 private:
  Server& server_;
  std::optional<storage::IdempotencyKey> key_;  // in hand
};

// Jobs of it are sized by what it may run; nothing where there are no jobs.
void tell_jobs(const Exchange& exchange, const std::string& function);

Reply job_refusal(const Exchange& exchange, const Error& error);

}  // namespace glowplug::gateway
