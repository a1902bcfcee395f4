// The engine of one replica as a flow: prompts are read one after the other, answers are decoded
// side by side, and each step serves both.
//
//   alone            a prompt is read at prefill_tokens_per_s
//   n answers        a step takes step + n × step_stream, and gives each a token
//   a prompt beside  a step takes step_mixed, or longer where decoding fills it; what decoding
//   n answers        leaves of it goes to the prompt
//
// Work is counted in seconds of this engine with all the cores it was measured with; how fast
// seconds of work pass is the caller's (simulate/compute).
//
// Thread: one owner.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "domain/ids.h"
#include "simulate/world_model.h"

namespace glowplug::simulate {

class ReplicaEngine final {
 public:
  explicit ReplicaEngine(const ModelProfile& profile);

  struct Job {
    domain::CallId call;
    double prompt_tokens = 1;
    int output_tokens = 1;
  };
  void add(const Job& job);
  bool drop(domain::CallId call);             // its caller left; false when it is not there
  std::vector<domain::CallId> calls() const;  // in the order of their arrival
  bool is_idle() const { return reading_.empty() && answering_.empty(); }

  void advance(double work_s);         // not beyond next()
  std::optional<double> next() const;  // work until something is due; nothing when idle
  enum class Due { FirstToken, Done };
  struct Happening {
    domain::CallId call;
    Due due = Due::Done;
  };
  std::optional<Happening> take();  // what is due now; Done follows its FirstToken

 private:
  struct Answer {
    domain::CallId call;
    double ends_at = 0;  // of tokens_
  };
  double decode_tokens_per_s() const;  // of each answer
  double prefill_tokens_per_s() const;

  double prefill_rate_, step_s_, step_stream_s_, step_mixed_s_;
  std::deque<Job> reading_;  // the first one is being read
  std::vector<Answer> answering_;
  double tokens_ = 0;  // that an answer would have which began with the engine
};

}  // namespace glowplug::simulate
