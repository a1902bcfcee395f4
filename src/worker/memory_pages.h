// What this process does with pages of memory that nobody needs yet, or that everybody will need at
// once.
//
// give_back_zero_pages() returns private pages that hold only zeroes to the kernel (a fresh KV
// cache is zeroed in full): reading them gives zeroes again, so nothing changes but the bytes held,
// and context costs memory only when it is used. inherit_mappings() makes forks copy the page
// tables of a mapped file, which is several times as fast as filling them in each child, and spares
// a child some thousand faults during its first prompt.
//
// zero() leaves zeroes that hold no page until they are written, where memset would touch them all.
//
// gather_huge_pages() puts what stays in full (weights that were laid out anew are anonymous
// memory) on huge pages, so that a fork copies one entry where it copied 512.
//
// Thread: the only one of the process: another could write a page between the look and the giving
// back, or read the mapping while it is replaced.
#pragma once

#include <cstddef>
#include <string>

namespace glowplug::worker {

// Returns the bytes given back.
std::size_t give_back_zero_pages();

// Of private anonymous memory: its whole pages are given back, the rest is written. Nobody else may
// use it meanwhile; other threads may use other memory.
void zero(void* memory, std::size_t bytes);

// Fills the page tables of where this process maps the file for reading, and has its forks inherit
// them: the kernel copies those of a private mapping that holds a page of its own, and no others.
// Returns the bytes of the mappings; 0 when it maps none, or the file at that path is another now.
std::size_t inherit_mappings(const std::string& path);

// After give_back_zero_pages(): only blocks without a page given back are gathered. Returns the
// bytes; 0 where the kernel does not do it (before Linux 6.1, or huge pages are off).
std::size_t gather_huge_pages();

}  // namespace glowplug::worker
