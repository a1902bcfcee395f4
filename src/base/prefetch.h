// Reads a model file into the page cache ahead of the engine's mmap, as fast as the disk gives it
// and with progress (the engine maps the whole file with MAP_POPULATE: one reader, one long
// silence).
//
// Four threads each ask the kernel for windows of 16 MiB at once; they are joined before this
// returns, because a template may have no other thread when it forks. Only what is not resident is
// read; a file that is all there costs a look of about a millisecond per 100 MB.
//
// Thread: blocks the caller, who alone hears of progress. Keeps nothing open; failures are left for
// the engine to report.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace glowplug {

struct PrefetchHooks {
  std::function<void(double)> progress;  // fractions from 0 to 1, rising
  std::function<bool()> cancelled;       // polled every 50 ms; may be empty
};

// Returns the bytes of the windows that were not resident when it came to them: less than was
// missing where the kernel reads ahead. Cancelled, it ends once the windows under way are read.
std::uint64_t prefetch_file(const std::string& path, const PrefetchHooks& hooks);

}  // namespace glowplug
