// Runs one tune: measuring processes one after the other, as policy/tuning says, each with a time
// limit and in the sandbox and cgroup of a replica. It stores nothing and applies nothing.
//
//   begin ──▶ trial ──▶ (process measured, failed, or took too long) ──▶ next trial ──▶ done
//                 └── cancelled: its process is killed, and nobody hears of it again
//
// While it runs, its memory is set aside in the brain, so that no replica is promised it.
//
// Thread: the server loop. Callbacks come from the loop, never from inside begin() or cancel().
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "control/events.h"
#include "control/platform.h"
#include "policy/tuning.h"
#include "runtime/supervisor.h"

namespace glowplug::app {

struct TuneJob {
  domain::Manifest manifest;  // as its owner declares it
  int revision = 0;
  domain::ModelFacts facts;
  std::vector<policy::FileOffer> offers;
};

// The most that one of its processes may take.
std::uint64_t estimate_tune_bytes(const TuneJob& job);

class Tuner final {
 public:
  struct Hears {
    std::function<void(const control::TrialNews&)> trial;
    std::function<void(Result<domain::TuneResult>)> done;  // once, last
  };
  Tuner(boost::asio::io_context& loop, runtime::Supervisor& supervisor,
        std::function<void(control::Event)> post, int cores);

  bool running() const { return job_.has_value(); }
  domain::TuneId begin(TuneJob job, Hears hears);  // only while none runs
  void cancel(domain::TuneId tune);                // of one that is over: nothing
  void fail(const Error& error);                   // the one that runs, if any: done() hears it

  bool owns(domain::ProcessId process) const;  // measuring processes have numbers of their own
  void on_measured(domain::ProcessId process, const std::string& line);
  void on_gone(domain::ProcessId process, const std::string& cause);

 private:
  void next();
  bool start(domain::Trial trial);
  void note(domain::Trial trial);
  void finish(Result<domain::TuneResult> outcome);
  policy::TuneScope scope() const { return {job_->manifest, cores_, job_->offers}; }

  boost::asio::io_context& loop_;
  runtime::Supervisor& supervisor_;
  std::function<void(control::Event)> post_;
  int cores_;
  boost::asio::steady_timer timer_;
  std::optional<TuneJob> job_;
  Hears hears_;
  domain::TuneId tune_{};
  std::vector<domain::Trial> done_;
  std::optional<domain::Trial> current_;
  domain::ProcessId process_{};  // of the current trial
  bool too_late_ = false;        // it was killed for its time
};

}  // namespace glowplug::app
