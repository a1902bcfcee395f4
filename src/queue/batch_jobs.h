// What batches ask of the jobs: lines become jobs, and their ends are read back.
// Thread: the server loop, callbacks too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time_types.h"
#include "domain/job.h"
#include "queue/job_runner.h"

namespace glowplug::queue {

class BatchJobs {
 public:
  struct Line {
    std::uint64_t line = 0;  // of the input file
    JobRequest request;
  };
  // A job of a batch. What it has answered is `body`, also where that is an error.
  struct Row {
    std::uint64_t line = 0;
    std::string job;  // its id as clients see it
    domain::JobState state = domain::JobState::Queued;
    int status = 0;  // of `body`
    std::string body;
    std::string code, message;  // of a job that has failed without an answer
    std::int64_t prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0;
  };
  struct Counts {
    std::uint64_t jobs = 0, completed = 0, failed = 0, over = 0;  // over: in any terminal state
    std::uint64_t last_line = 0;
  };
  template <typename T>
  using Done = std::function<void(Result<T>)>;

  virtual ~BatchJobs() = default;

  // How many more the queue takes before batches fill it; 0 = none now.
  virtual std::size_t room() const = 0;
  // All of them or none, in one transaction; a line that is a job already stays that job. They are
  // not checked: a request that cannot run fails as a job.
  virtual void add(std::int64_t batch, Time expires, std::vector<Line> lines, Done<void> done) = 0;
  // Of those that are not over. Their ends are told like any others.
  virtual void cancel(std::int64_t batch) = 0;
  virtual void count(std::int64_t batch, Done<Counts> done) = 0;
  // Those behind `line`, in the order of lines: at least one, if there is one, and no further ones
  // once they are some megabytes. None = there is no more.
  virtual void read(std::int64_t batch, std::uint64_t line, std::size_t rows_max,
                    Done<std::vector<Row>> done) = 0;
};

}  // namespace glowplug::queue
