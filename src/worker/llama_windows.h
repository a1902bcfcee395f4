// Prompt states of models with sliding windows. Of a layer that sees a window the engine writes the
// last one alone, although a slot holds them all (swa_full), so a state could not be cut. The
// worker links with its own llama_state_seq_save_file in front of the engine's (-Wl,--wrap), which
// writes all of them, in the engine's own format; the engine reads it as it is.
//
// Thread: any. A state that cannot be written, or whose slot has lost a part of its windows, is an
// error of the save.
#pragma once

struct llama_context;

namespace glowplug::worker {

// Whether this context has windows that are written so: its states may be cut anywhere.
[[nodiscard]] bool has_whole_windows(const llama_context* context);

}  // namespace glowplug::worker
