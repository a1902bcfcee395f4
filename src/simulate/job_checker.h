// What must hold of accepted jobs, judged by what is seen from outside alone: clients that were
// told something, rows they can read, and what runs on replicas.
//
//   told "accepted"   the job reaches one end, once
//   an end that was read   it never changes, and nothing of the job runs any more
//   a start   not before its time, not beside another of the same job, never more of a function
//             than places, in the order of urgency and age; nobody is passed by for ever
//
// Thread: one owner.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "simulate/job_disk.h"

namespace glowplug::simulate {

class JobChecker final {
 public:
  // A function of that name; one that is put again after its removal is another.
  struct Function {
    int places = 1;
    std::set<std::pair<std::uint64_t, std::uint64_t>> running = {};  // job and fence, not stopped
    std::optional<Time> batch_since = {};  // batch jobs are ready, without a gap
  };

  // --- what clients hear ---
  void accepted(domain::JobId job) { told_.insert(job.value); }
  void read(const JobRow& row, Time now);  // of one that has ended
  void all_over(const std::map<std::uint64_t, JobRow>& rows);

  // --- what goes on ---
  void sized(const std::string& function, int places) { functions_[function].places = places; }
  void removed(const std::string& function) { functions_.erase(function); }
  void arrived(const control::JobArrived& job, Time now);  // a server knows it
  void started(const control::StartAttempt& start, Time now);
  void stopped(domain::JobId job, std::uint64_t fence);  // or ended
  void requeued(const control::RequeueJob& back, Time now);
  void settled(domain::JobId job);
  void turn_over(Time now);
  void crashed();

  const std::optional<std::string>& violation() const { return violation_; }

 private:
  struct Waiting {  // or running
    control::JobArrived job;
    Time ready_at{};
    bool running = false;
    int passed_by = 0;  // by interactive ones since the last batch job, once it has waited long
  };

  void check_order(const Waiting& started, Time now);
  void fail(domain::JobId job, const std::string& what);
  bool is_ready(const Waiting& waiting, Time now) const {
    return !waiting.running && waiting.ready_at <= now;
  }

  std::set<std::uint64_t> told_;
  std::map<std::uint64_t, control::SettleJob> ends_;  // that were read
  std::map<std::string, Function> functions_;
  std::map<std::uint64_t, Waiting> jobs_;  // that the server knows
  std::optional<std::string> violation_;   // the first one
};

}  // namespace glowplug::simulate
