// Reads a model file into the page cache ahead of the engine's mmap, so that a slow disk shows as
// progress instead of one long silence inside the kernel (the engine maps the whole file with
// MAP_POPULATE, which reports nothing).
//
// Only what is not resident is read; a file that is all there costs a look of about a millisecond
// per 100 MB.
//
// Thread: blocks the caller. Keeps nothing open; failures are left for the engine to report.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace glowplug::worker {

// `progress` hears fractions from 0 to 1, rising. Returns the bytes of the windows
// that were not resident when it came to them: less than was missing where the kernel reads ahead.
std::uint64_t prefetch_file(const std::string& path, const std::function<void(double)>& progress);

}  // namespace glowplug::worker
