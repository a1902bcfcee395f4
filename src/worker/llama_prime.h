// Computes prompts in a template, so that every replica forked from it begins with them: each slot
// holds one, and the state of each is at hand for a slot that has held something else meanwhile.
//
// Thread: main, while no other thread runs; none is left when it returns. Errors: a text without
// tokens, one longer than a slot, an engine that fails.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "ggml-cpu.h"
#include "llama.h"
#include "server-context.h"
#include "worker/llama_slots.h"
#include "worker/prompt_memory.h"
#include "worker/template_loop.h"

namespace glowplug::worker {

[[nodiscard]] Result<void> prime_slots(server_context& engine, const common_params& params,
                                       const LlamaPrompts& prompts,
                                       const std::vector<Prime>& primes, int threads,
                                       PromptMemory& memory);

// Threads that there are, and those of them that compute; the rest sleep.
struct PoolThreads {
  int pool = 1, used = 1;
};
// A thread pool of this process's own, used until it is freed: a template's has no thread but the
// one that forked.
ggml_threadpool* attach_threads(llama_context* context, const PoolThreads& threads);

}  // namespace glowplug::worker
