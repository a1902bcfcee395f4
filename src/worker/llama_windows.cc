#include "worker/llama_windows.h"

#include <cstdio>
#include <exception>
#include <stdexcept>

#include "llama-kv-cache-iswa.h"
#include "llama.h"
#include "worker/llama_state_file.h"

namespace glowplug::worker {
namespace {

const llama_kv_cache_iswa* windows_of(const llama_context* context) {
  return dynamic_cast<const llama_kv_cache_iswa*>(llama_get_memory(context));
}

std::size_t save_whole(llama_context* context, const char* path, llama_seq_id slot,
                       const llama_token* packed, std::size_t count) {
  llama_synchronize(context);
  const llama_kv_cache_iswa& memory = *windows_of(context);
  const llama_kv_cache &base = *memory.get_base(), &windows = *memory.get_swa();
  // Where a cache is short of cells the engine takes those that no window sees any more.
  if (count_cells(base, slot) != count_cells(windows, slot))
    throw std::runtime_error("a part of its windows is not there any more");
  StateFile out(path, packed, count);
  base.state_write(out, slot, 0);
  write_cells(out, windows, slot);
  return out.close();
}

}  // namespace

bool has_whole_windows(const llama_context* context) { return windows_of(context) != nullptr; }

}  // namespace glowplug::worker

// The linker's names: __real_ is the engine's function, __wrap_ takes its place.
// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" {

std::size_t __real_llama_state_seq_save_file(llama_context* context, const char* path,
                                             llama_seq_id slot, const llama_token* packed,
                                             std::size_t count);

std::size_t __wrap_llama_state_seq_save_file(llama_context* context, const char* path,
                                             llama_seq_id slot, const llama_token* packed,
                                             std::size_t count) {
  if (!glowplug::worker::has_whole_windows(context))
    return __real_llama_state_seq_save_file(context, path, slot, packed, count);
  try {
    return glowplug::worker::save_whole(context, path, slot, packed, count);
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "a prompt state is not saved: %s\n", failure.what());
    return 0;
  }
}

}  // extern "C"
// NOLINTEND(bugprone-reserved-identifier)
