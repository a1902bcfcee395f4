// What a context holds in memory: as a rule its used part alone (llama_clear.cc).
//
// Thread: the context's.
#pragma once

struct llama_context;

namespace glowplug::worker {

// Forgets what the context holds and brings all its pages in, as if every token were used.
void fill_context(llama_context* context);

}  // namespace glowplug::worker
