// Runs the attempts of jobs: the calls that clients make, without a client.
//
// A request is read, checked, granted, metered, logged and answered by the code that does it for a
// client of the same route; only its answer is not sent but handed to the queue. An attempt is one
// call: whether there is another one the queue decides. One that follows a broken replica names the
// first call of its job whose replica broke, so that the brain runs it alone.
//
// The answer comes as a whole, also where the request asks for a stream. What can be heard of it
// before it is there is its replica: `progressed` comes with each read from it, and meanwhile, of a
// replica of ours, with each sign of life (replica_pulse.h).
//
// Thread: the server loop. Private to gateway/. What is told comes from later turns of it.
#pragma once

#include <memory>

#include <boost/asio/awaitable.hpp>

#include "queue/job_runner.h"

namespace glowplug::gateway {

struct Server;
class JobAttempt;

class CallJobRunner final : public queue::JobRunner {
 public:
  explicit CallJobRunner(std::shared_ptr<Server> server);
  ~CallJobRunner() override;  // stops what runs

  Result<void> check(const queue::JobRequest& request) override;
  void start(domain::JobId job, std::uint64_t fence, queue::JobRequest request,
             Heard heard) override;
  void stop(domain::JobId job, std::uint64_t fence, policy::Payer payer) override;

 private:
  struct Book;
  static boost::asio::awaitable<queue::AttemptAnswer> run(std::shared_ptr<Book> book,
                                                          std::shared_ptr<JobAttempt> attempt);

  static void conclude(const std::shared_ptr<Book>& book,
                       const std::shared_ptr<JobAttempt>& attempt, std::uint64_t fence,
                       queue::AttemptAnswer answer);

  const std::shared_ptr<Server> server_;  // owners: the Gateway, its connections, and attempts
  const std::shared_ptr<Book> book_;      // owners: this object and each attempt's coroutine
};

}  // namespace glowplug::gateway
