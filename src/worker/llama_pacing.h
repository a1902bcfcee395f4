// Ties a StepPacer to the engine. The server core asks the context how many tokens a batch may hold
// each time it gathers one, and has no setting that could change while it runs; so the worker links
// with its own llama_n_batch and llama_process in front of the engine's (-Wl,--wrap), which answer
// from the pacer and time the steps.
//
// Thread: pace_steps() before the engine's loop starts; the rest happens on that loop.
#pragma once

#include "worker/step_pacer.h"

struct llama_context;

namespace glowplug::worker {

// From now on, for the life of the process. Other contexts keep their own sizes.
void pace_steps(llama_context* context, int slots);

}  // namespace glowplug::worker
