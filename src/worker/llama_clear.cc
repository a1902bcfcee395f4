// The engine clears a new context in full, which brings all its pages into memory. The worker links
// with its own ggml_backend_buffer_clear in front of the engine's (-Wl,--wrap): what lies in this
// process's memory holds no page until a token is written there. So a load takes no time for its
// context, and no memory, however long it is.
//
// Thread: any; the buffer is its caller's.
#include "worker/llama_clear.h"

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "ggml-backend.h"
#include "llama.h"
#include "worker/memory_pages.h"

namespace {
std::atomic<bool> holds_pages{false};
}  // namespace

namespace glowplug::worker {

void fill_context(llama_context* context) {
  holds_pages = true;
  llama_memory_clear(llama_get_memory(context), true);
  holds_pages = false;
}

}  // namespace glowplug::worker

// The linker's names: __real_ is the engine's function, __wrap_ takes its place.
// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" {

void __real_ggml_backend_buffer_clear(ggml_backend_buffer_t buffer, std::uint8_t value);

void __wrap_ggml_backend_buffer_clear(ggml_backend_buffer_t buffer, std::uint8_t value) {
  // Pinned for a device, the pages would be the device's too.
  if (value != 0 || holds_pages || ggml_backend_buffer_get_type(buffer) != ggml_backend_cpu_buffer_type())
    return __real_ggml_backend_buffer_clear(buffer, value);
  glowplug::worker::zero(ggml_backend_buffer_get_base(buffer),
                         ggml_backend_buffer_get_size(buffer));
}

}  // extern "C"
// NOLINTEND(bugprone-reserved-identifier)
