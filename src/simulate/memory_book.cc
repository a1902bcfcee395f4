#include "simulate/memory_book.h"

#include <utility>

#include "base/result.h"

namespace glowplug::simulate {

void MemoryBook::add(domain::ProcessId process, std::uint64_t bytes,
                     std::optional<domain::ProcessId> from) {
  std::vector<domain::ProcessId> maps;
  if (from) maps = maps_.at(*from);
  for (const domain::ProcessId maker : maps) ++pages_.at(maker).holders;
  maps.push_back(process);
  GLOWPLUG_ASSERT(maps_.emplace(process, std::move(maps)).second);
  pages_.emplace(process, Pages{bytes, 1});
  total_ += bytes;
}

void MemoryBook::set(domain::ProcessId process, std::uint64_t bytes) {
  const auto found = pages_.find(process);
  if (found == pages_.end()) return;
  total_ += bytes - found->second.bytes;
  found->second.bytes = bytes;
}

void MemoryBook::remove(domain::ProcessId process) {
  const auto found = maps_.find(process);
  if (found == maps_.end()) return;
  for (const domain::ProcessId maker : found->second) {
    const auto pages = pages_.find(maker);
    if (--pages->second.holders > 0) continue;
    total_ -= pages->second.bytes;
    pages_.erase(pages);
  }
  maps_.erase(found);
}

MemoryBook::Held MemoryBook::held(domain::ProcessId process) const {
  Held held;
  const auto found = maps_.find(process);
  if (found == maps_.end()) return held;
  for (const domain::ProcessId maker : found->second) {
    const Pages& pages = pages_.at(maker);
    held.mapped += pages.bytes;
    if (pages.holders == 1) held.own += pages.bytes;
  }
  return held;
}

std::uint64_t MemoryBook::made(domain::ProcessId process) const {
  const auto found = pages_.find(process);
  return found == pages_.end() ? 0 : found->second.bytes;
}

}  // namespace glowplug::simulate
