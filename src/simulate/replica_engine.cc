#include "simulate/replica_engine.h"

#include <algorithm>

#include "base/result.h"

namespace glowplug::simulate {
namespace {

// Of a token. What is left of one by rounding counts as none.
constexpr double kNothing = 1e-6;
// Of a step beside a prompt, decoding takes so much at most.
constexpr double kDecodeShareMax = 0.8;

}  // namespace

ReplicaEngine::ReplicaEngine(const ModelProfile& profile)
    : prefill_rate_(profile.prefill_tokens_per_s),
      step_s_(to_seconds(profile.step)),
      step_stream_s_(to_seconds(profile.step_stream)),
      step_mixed_s_(to_seconds(profile.step_mixed)) {}

void ReplicaEngine::add(const Job& job) {
  GLOWPLUG_ASSERT(job.prompt_tokens > 0 && job.output_tokens > 0);
  reading_.push_back(job);
}

bool ReplicaEngine::drop(domain::CallId call) {
  const auto is_it = [call](const auto& one) { return one.call == call; };
  return std::erase_if(reading_, is_it) + std::erase_if(answering_, is_it) > 0;
}

std::vector<domain::CallId> ReplicaEngine::calls() const {
  std::vector<domain::CallId> all;
  for (const Answer& answer : answering_) all.push_back(answer.call);
  for (const Job& job : reading_) all.push_back(job.call);
  std::sort(all.begin(), all.end());
  return all;
}

double ReplicaEngine::decode_tokens_per_s() const {
  const double step = step_s_ + static_cast<double>(answering_.size()) * step_stream_s_;
  return 1 / (reading_.empty() ? step : std::max(step_mixed_s_, step / kDecodeShareMax));
}

double ReplicaEngine::prefill_tokens_per_s() const {
  if (answering_.empty()) return prefill_rate_;
  const double decoding = step_s_ + static_cast<double>(answering_.size()) * step_stream_s_;
  return prefill_rate_ * (1 - decoding * decode_tokens_per_s());
}

void ReplicaEngine::advance(double work_s) {
  if (!answering_.empty()) {
    const double more = decode_tokens_per_s() * work_s;
    if (!reading_.empty()) reading_.front().prompt_tokens -= prefill_tokens_per_s() * work_s;
    tokens_ += more;
  } else if (!reading_.empty()) {
    reading_.front().prompt_tokens -= prefill_rate_ * work_s;
  }
}

std::optional<double> ReplicaEngine::next() const {
  std::optional<double> soonest;
  const auto consider = [&soonest](double work_s) {
    const double at = std::max(0.0, work_s);
    soonest = soonest ? std::min(*soonest, at) : at;
  };
  if (!reading_.empty()) consider(reading_.front().prompt_tokens / prefill_tokens_per_s());
  if (!answering_.empty()) {
    double first = answering_.front().ends_at;
    for (const Answer& answer : answering_) first = std::min(first, answer.ends_at);
    consider((first - tokens_) / decode_tokens_per_s());
  }
  return soonest;
}

std::optional<ReplicaEngine::Happening> ReplicaEngine::take() {
  for (auto answer = answering_.begin(); answer != answering_.end(); ++answer) {
    if (answer->ends_at - tokens_ > kNothing) continue;
    const domain::CallId call = answer->call;
    answering_.erase(answer);
    if (answering_.empty()) tokens_ = 0;  // keeps it small, and so exact
    return Happening{call, Due::Done};
  }
  if (reading_.empty() || reading_.front().prompt_tokens > kNothing) return std::nullopt;
  const Job job = reading_.front();
  reading_.pop_front();
  answering_.push_back({job.call, tokens_ + job.output_tokens - 1});
  return Happening{job.call, Due::FirstToken};
}

}  // namespace glowplug::simulate
