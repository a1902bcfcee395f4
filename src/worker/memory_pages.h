// What this process does with pages of memory that nobody needs yet, or that everybody will need at
// once.
//
// give_back_zero_pages() returns private pages that hold only zeroes to the kernel (a fresh KV
// cache is zeroed in full): reading them gives zeroes again, so nothing changes but the bytes held,
// and context costs memory only when it is used. populate() fills this process's page tables for
// ranges that it maps, so that a forked child takes no thousand faults during its first prompt; the
// file's pages are in memory already.
//
// Thread: the only one of the process: another could write a page between the look and the giving
// back.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace glowplug::worker {

struct PageRange {
  void* begin = nullptr;
  std::size_t bytes = 0;
};

// Returns the bytes given back.
std::size_t give_back_zero_pages();

// Where this process maps the file; nothing when it does not.
std::vector<PageRange> mappings_of(const std::string& path);

// Returns the bytes populated; 0 where the kernel cannot (before 5.14).
std::size_t populate(const std::vector<PageRange>& ranges);

}  // namespace glowplug::worker
