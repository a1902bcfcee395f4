// What this process does with pages of memory that nobody needs yet, or that everybody will need at
// once.
//
// give_back_zero_pages() returns private pages that hold only zeroes to the kernel (a fresh KV
// cache is zeroed in full): reading them gives zeroes again, so nothing changes but the bytes held,
// and context costs memory only when it is used. inherit_mappings() makes forks copy the page
// tables of a mapped file, which is several times as fast as filling them in each child, and spares
// a child some thousand faults during its first prompt.
//
// Thread: the only one of the process: another could write a page between the look and the giving
// back, or read the mapping while it is replaced.
#pragma once

#include <cstddef>
#include <string>

namespace glowplug::worker {

// Returns the bytes given back.
std::size_t give_back_zero_pages();

// Fills the page tables of where this process maps the file for reading, and has its forks inherit
// them: the kernel copies those of a private mapping that holds a page of its own, and no others.
// Returns the bytes of the mappings; 0 when it maps none, or the file at that path is another now.
std::size_t inherit_mappings(const std::string& path);

}  // namespace glowplug::worker
