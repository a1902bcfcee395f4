#include "worker/llama_pacing.h"

#include <cstdint>
#include <optional>

#include "llama.h"

// The linker's names: __real_ is the engine's function, __wrap_ takes its place.
// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" {
std::uint32_t __real_llama_n_batch(const llama_context* context);
std::int32_t __real_llama_process(llama_context* context, llama_process_type type,
                                  llama_batch_ext* batch);
}

namespace glowplug::worker {
namespace {

struct Paced {
  llama_context* context;
  StepPacer pacer;
};

struct Threaded {
  llama_context* context;
  const ThreadCount& count;
};

// The linker's functions take no argument of ours.
std::optional<Paced> paced;
std::optional<Threaded> threaded;

// Tokens that the context holds, over all slots: what a step adds is its number of tokens.
std::int64_t tokens_held(llama_context* context) {
  std::int64_t sum = 0;
  const llama_memory_t memory = llama_get_memory(context);
  const auto slots = static_cast<llama_seq_id>(llama_n_seq_max(context));
  for (llama_seq_id slot = 0; slot < slots; ++slot)
    sum += llama_memory_seq_pos_max(memory, slot) + 1;
  return sum;
}

}  // namespace

void pace_steps(llama_context* context, int slots) {
  paced.emplace(context, StepPacer(slots, static_cast<int>(__real_llama_n_batch(context))));
}

void follow_threads(llama_context* context, const ThreadCount& count) {
  threaded.emplace(Threaded{context, count});
}

}  // namespace glowplug::worker

extern "C" {

std::uint32_t __wrap_llama_n_batch(const llama_context* context) {
  using glowplug::worker::paced;
  if (!paced || paced->context != context) return __real_llama_n_batch(context);
  return static_cast<std::uint32_t>(paced->pacer.tokens_max());
}

std::int32_t __wrap_llama_process(llama_context* context, llama_process_type type,
                                  llama_batch_ext* batch) {
  using glowplug::worker::paced, glowplug::worker::threaded;
  if (threaded && threaded->context == context)
    if (const int threads = threaded->count.now(); threads != llama_n_threads(context))
      llama_set_n_threads(context, threads, threads);
  if (!paced || paced->context != context) return __real_llama_process(context, type, batch);
  const std::int64_t before = glowplug::worker::tokens_held(context);
  const auto began = std::chrono::steady_clock::now();
  const std::int32_t status = __real_llama_process(context, type, batch);
  const auto took = std::chrono::steady_clock::now() - began;
  if (status == 0)
    paced->pacer.note(static_cast<int>(glowplug::worker::tokens_held(context) - before), took);
  return status;
}

}  // extern "C"
// NOLINTEND(bugprone-reserved-identifier)
