// How long an idle replica is worth keeping, by how long its function's calls were apart.
//
// keep_alive says what a start is worth: as much as a replica that idles for so long. Who knew when
// the next call comes would keep the replica until then, or, where that is later than keep_alive,
// stop it at once. What is known is how long past idle times were: it stays for the time that would
// have cost least on them, idle time and keep_alive for each start added up. On the same idle times
// that costs no more than staying for keep_alive each time, and a replica never stays longer than
// that. The renter's decision with a known distribution: Karlin et al., Competitive randomized
// algorithms for non-uniform problems, 1994.
//
// Late idle times count most, each half after 23 others. Before ten are known, and where staying
// for keep_alive would of late have cost less, it is keep_alive.
//
// Thread: a value; whoever owns it. 0.3 KB.
#pragma once

#include <array>
#include <cstddef>

#include "base/time_types.h"

namespace glowplug::policy {

class KeepTime final {
 public:
  // From the end of the last call; kForever and zero stay what they are.
  Duration within(Duration keep_alive);
  void note(Duration idle);  // ended by a call

 private:
  static constexpr std::size_t kBins = 32;  // from 0, 1, 1.4, 2, … 26,755 s on

  static double begin_of(std::size_t bin);
  static std::size_t bin_of(double seconds);
  double cheapest(double keep_s) const;

  struct Bin {
    float weight = 0, seconds = 0;
  };
  std::array<Bin, kBins> bins_{};
  int noted_ = 0;
  double keep_s_ = 0, stay_s_ = 0;  // as last asked and answered
  double cost_ = 0, fixed_cost_ = 0;
};

}  // namespace glowplug::policy
