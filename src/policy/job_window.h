// How many attempts of one function's jobs run at once: as many as it could serve, until one is
// refused for want of capacity. Then half as many, and one more for each windowful of answers, as
// TCP does it (RFC 5681).
//
//   places_max ─┐  ┌ answers: + 1 / places each
//               └──┘ a refusal: / 2, once for all that had been started before it
//
// Thread: a value.
#pragma once

#include <cstdint>

namespace glowplug::policy {

class JobWindow final {
 public:
  explicit JobWindow(int places_max = 1);

  int places() const { return static_cast<int>(places_); }  // at least 1
  std::uint64_t start() { return ++starts_; }               // the attempt's number
  void answered();
  // Whether it counts: others of the same round have not been refused before it.
  bool refused(std::uint64_t number);
  int refused_in_a_row() const { return in_a_row_; }  // rounds, since the last answer
  // Who has all places that there were gets all that there are.
  void resize(int places_max);

 private:
  double places_ = 1, places_max_ = 1;
  std::uint64_t starts_ = 0, counted_to_ = 0;
  int in_a_row_ = 0;
};

}  // namespace glowplug::policy
