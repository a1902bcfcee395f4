// Ties a StepPacer and a ThreadCount to the engine. The server core asks the context how many
// tokens a batch may hold each time it gathers one, and has no setting that could change while it
// runs; so the worker links with its own llama_n_batch and llama_process in front of the engine's
// (-Wl,--wrap), which answer from the pacer and time the steps.
//
// Thread: both functions before the engine's loop starts; the rest happens on that loop.
#pragma once

#include "worker/step_pacer.h"
#include "worker/thread_count.h"

struct llama_context;

namespace glowplug::worker {

// From now on, for the life of the process. Other contexts keep their own sizes.
void pace_steps(llama_context* context, int slots);

// Each step computes with as many threads as `count`, which outlives the loop, says before it.
void follow_threads(llama_context* context, const ThreadCount& count);

}  // namespace glowplug::worker
