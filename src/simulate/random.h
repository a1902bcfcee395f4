// Random numbers for worlds, generators and faults: xoshiro256** seeded through splitmix64, and the
// distributions written here, because those of the standard library differ from one library to the
// next. The same seed gives the same numbers with the same program.
//
// split() makes a generator of its own for each use, so that one more draw in one place changes
// nothing in another.
//
// Thread: one owner.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace glowplug::simulate {

class Random final {
 public:
  explicit Random(std::uint64_t seed);

  std::uint64_t bits();
  Random split(std::uint64_t stream) const;  // the same one for the same stream

  double unit();                           // 0 <= x < 1
  std::uint64_t below(std::uint64_t end);  // 0 … end - 1; end > 0
  int between(int low, int high);          // both among them
  bool chance(double probability) { return unit() < probability; }

  double exponential(double mean);
  double normal();  // mean 0, deviation 1
  double lognormal(double median, double sigma);
  double gamma(double shape);    // scale 1; shape > 0
  double weibull(double shape);  // scale 1; shape > 0
  std::uint64_t poisson(double mean);

 private:
  std::uint64_t seed_;
  std::array<std::uint64_t, 4> state_{};
};

// Ranks 0 … count - 1, of which rank k is drawn as often as 1 / (k + 1)^exponent says.
class Zipf final {
 public:
  Zipf(std::size_t count, double exponent);  // count > 0
  std::size_t pick(Random& random) const;

 private:
  std::vector<double> up_to_;  // share of the ranks up to this one
};

}  // namespace glowplug::simulate
