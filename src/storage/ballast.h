// Room kept back on the disk: a file of zeros that is given up when the disk is full, so that the
// ends of what was accepted can still be written, and made again once there is room.
//
// Thread: one owner.
#pragma once

#include <cstdint>
#include <string>

namespace glowplug::storage {

inline constexpr std::uint64_t kBallastBytes = 64ULL << 20;

class Ballast final {
 public:
  // Of a small disk it takes a sixteenth at most. 0 bytes: no file, only whether there is room.
  Ballast(std::string path, std::uint64_t bytes);

  // True when it is there and as much room again is left besides, so that it is not given up and
  // taken back in turns.
  bool take();
  void give_up();

 private:
  std::string path_;
  std::uint64_t bytes_;
};

}  // namespace glowplug::storage
