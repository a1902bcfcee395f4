// How the engine's loader puts weights on a GPU: the worker links with its own
// ggml_backend_tensor_set in front of the engine's (-Wl,--wrap), which sends what is large through
// a StagedUpload. Without a GPU nothing changes.
//
// Thread: the one that loads the model.
#pragma once

namespace glowplug::worker {

// Makes the context of the first GPU, which then lives as long as the process, and the lanes to it.
// A worker that stands by has both ready; another makes the lanes when it needs them. Without a GPU
// it does nothing and starts no thread.
void open_device();

// Ends the lanes' threads and frees their memory, once the model is loaded; says on stderr how fast
// it was.
void close_uploads();

}  // namespace glowplug::worker
