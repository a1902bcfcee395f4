#include "worker/llama_measure.h"

#include <algorithm>
#include <cstdio>

#include "llama.h"
#include "worker/llama_clear.h"
#include "worker/step_pacer.h"

namespace glowplug::worker {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

// A large model on a small machine is measured with fewer tokens instead of for many minutes.
constexpr Seconds kPartMost{4};
constexpr Seconds kAllMost{5};   // no further round begins after it
constexpr int kWarmTokens = 64;  // touch what every later round finds warm

// Any tokens do: what one costs does not depend on which it is.
std::vector<llama_token> tokens_for(const llama_vocab* vocab, int count) {
  constexpr int kStride = 7919;
  const int known = std::max(1, llama_vocab_n_tokens(vocab));
  std::vector<llama_token> tokens;
  for (int i = 0; i < count; ++i) tokens.push_back(static_cast<llama_token>(i * kStride % known));
  return tokens;
}

bool compute(llama_context* context, llama_token* tokens, int count) {
  const bool done = llama_decode(context, llama_batch_get_one(tokens, count)) == 0;
  llama_synchronize(context);
  return done;
}

// Tokens per second; 0 when the engine refuses.
double read_prompt(llama_context* context, std::vector<llama_token>& tokens, StepPacer& pacer,
                   int step_most) {
  const auto began = Clock::now();
  int done = 0;
  const int all = static_cast<int>(tokens.size());
  while (done < all && Clock::now() - began < kPartMost) {
    const int step = std::min({all - done, std::max(pacer.tokens_max(), step_most)});
    const auto step_began = Clock::now();
    if (!compute(context, tokens.data() + done, step)) return 0;
    pacer.note(step, Clock::now() - step_began);
    done += step;
  }
  return done / Seconds(Clock::now() - began).count();
}

double answer(llama_context* context, std::vector<llama_token>& tokens, int count) {
  const auto began = Clock::now();
  int done = 0;
  while (done < count && Clock::now() - began < kPartMost) {
    if (!compute(context, tokens.data() + done, 1)) return 0;
    ++done;
  }
  return done / Seconds(Clock::now() - began).count();
}

}  // namespace

int measure_engine(llama_context* context, const MeasureTask& task, const MemoryProbe& memory) {
  const double load_ms =
      std::chrono::duration<double, std::milli>(Clock::now() - task.started).count();
  const bool answers = task.options.task == Task::kGenerate;
  const int held = static_cast<int>(llama_n_ctx_seq(context));
  const int answer_tokens = answers ? std::min(kMeasuredAnswerTokens, held / 4) : 0;
  const int prompt_tokens = std::clamp(held - answer_tokens - 1, 1, kMeasuredPromptTokens);
  const llama_vocab* vocab = llama_model_get_vocab(llama_get_model(context));
  StepPacer pacer(task.options.slots, task.batch);
  const int step_most = answers ? 1 : task.batch;  // embeddings take a whole input in a step

  const auto round = [&](int prompt, int replies, std::vector<double>& reads,
                         std::vector<double>& writes) {
    llama_memory_clear(llama_get_memory(context), false);
    std::vector<llama_token> tokens = tokens_for(vocab, prompt);
    reads.push_back(read_prompt(context, tokens, pacer, step_most));
    if (answers) writes.push_back(answer(context, tokens, std::min(replies, prompt)));
    return reads.back() > 0 && (!answers || writes.back() > 0);
  };
  std::vector<double> read, answered, warm_read, warm_answered;
  bool computes = round(std::min(prompt_tokens, kWarmTokens), 1, warm_read, warm_answered);
  const auto began = Clock::now();
  for (int i = 0; computes && i < kMeasuredRounds; ++i) {
    if (i > 0 && Clock::now() - began > kAllMost) break;
    computes = round(prompt_tokens, answer_tokens, read, answered);
  }
  if (!computes) {
    std::fprintf(stderr, "the engine refuses to compute with these settings\n");
    return 1;
  }
  fill_context(context);  // what it may come to hold is what settings are compared by
  const std::string line = measured_line({.prefill = spread_of(read),
                                          .decode = spread_of(answered),
                                          .rounds = static_cast<int>(read.size()),
                                          .load_ms = load_ms,
                                          .private_bytes = memory.private_bytes(),
                                          .batch = task.batch,
                                          .repacked = task.repacked});
  std::fwrite(line.data(), 1, line.size(), stdout);
  std::fflush(stdout);
  return 0;
}

}  // namespace glowplug::worker
