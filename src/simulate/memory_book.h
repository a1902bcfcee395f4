// What simulated processes hold: pages of their own, and those that a fork shares with the process
// it was forked from, which stay as long as any of them is there. As the kernel counts: `own` is
// what nobody else maps, `mapped` is all.
//
// Thread: one owner.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "domain/ids.h"

namespace glowplug::simulate {

class MemoryBook final {
 public:
  void add(domain::ProcessId process, std::uint64_t bytes, std::optional<domain::ProcessId> from);
  void set(domain::ProcessId process, std::uint64_t bytes);  // the pages that it made itself
  void remove(domain::ProcessId process);

  struct Held {
    std::uint64_t own = 0, mapped = 0;
    friend bool operator==(const Held&, const Held&) = default;
  };
  Held held(domain::ProcessId process) const;
  std::uint64_t made(domain::ProcessId process) const;  // by itself
  std::uint64_t total() const { return total_; }

 private:
  struct Pages {
    std::uint64_t bytes = 0;
    int holders = 0;
  };
  std::map<domain::ProcessId, Pages> pages_;                          // by who made them
  std::map<domain::ProcessId, std::vector<domain::ProcessId>> maps_;  // its own last
  std::uint64_t total_ = 0;
};

}  // namespace glowplug::simulate
