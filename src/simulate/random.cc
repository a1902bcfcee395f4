#include "simulate/random.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/result.h"

namespace glowplug::simulate {
namespace {

constexpr std::uint64_t rotated(std::uint64_t value, int by) {
  return (value << by) | (value >> (64 - by));
}

// splitmix64: spreads a small seed over all bits.
constexpr std::uint64_t spread(std::uint64_t& at) {
  at += 0x9e3779b97f4a7c15U;
  std::uint64_t mixed = at;
  mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9U;
  mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebU;
  return mixed ^ (mixed >> 31);
}

constexpr double kPoissonAsNormal = 64;  // from this mean on

}  // namespace

Random::Random(std::uint64_t seed) : seed_(seed) {
  std::uint64_t at = seed;
  for (std::uint64_t& word : state_) word = spread(at);
}

std::uint64_t Random::bits() {
  const std::uint64_t drawn = rotated(state_[1] * 5, 7) * 9;
  const std::uint64_t shifted = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= shifted;
  state_[3] = rotated(state_[3], 45);
  return drawn;
}

Random Random::split(std::uint64_t stream) const {
  std::uint64_t at = seed_ ^ (stream * 0xd1342543de82ef95U + 0x2545f4914f6cdd1dU);
  return Random(spread(at));
}

double Random::unit() { return static_cast<double>(bits() >> 11) * 0x1.0p-53; }

// By rejection: a remainder alone would favour small numbers.
std::uint64_t Random::below(std::uint64_t end) {
  GLOWPLUG_ASSERT(end > 0);
  const std::uint64_t uneven = (0 - end) % end;
  std::uint64_t drawn = bits();
  while (drawn < uneven) drawn = bits();
  return drawn % end;
}

int Random::between(int low, int high) {
  GLOWPLUG_ASSERT(low <= high);
  const auto span = static_cast<std::uint64_t>(static_cast<std::int64_t>(high) - low) + 1;
  return static_cast<int>(low + static_cast<std::int64_t>(below(span)));
}

double Random::exponential(double mean) { return -mean * std::log1p(-unit()); }

// Box and Muller's, of which one number of the pair is used: nothing to keep between draws.
double Random::normal() {
  const double radius = std::sqrt(-2 * std::log1p(-unit()));
  return radius * std::cos(2 * std::numbers::pi * unit());
}

double Random::lognormal(double median, double sigma) {
  return median * std::exp(sigma * normal());
}

// Marsaglia and Tsang's; a shape below one is drawn one higher and scaled down.
double Random::gamma(double shape) {
  GLOWPLUG_ASSERT(shape > 0);
  if (shape < 1) return gamma(shape + 1) * std::pow(1 - unit(), 1 / shape);
  const double d = shape - 1.0 / 3;
  const double c = 1 / std::sqrt(9 * d);
  while (true) {
    const double x = normal();
    const double v = std::pow(1 + c * x, 3);
    if (v <= 0) continue;
    if (std::log(1 - unit()) < 0.5 * x * x + d - d * v + d * std::log(v)) return d * v;
  }
}

double Random::weibull(double shape) {
  GLOWPLUG_ASSERT(shape > 0);
  return std::pow(exponential(1), 1 / shape);
}

std::uint64_t Random::poisson(double mean) {
  if (mean >= kPoissonAsNormal)
    return static_cast<std::uint64_t>(std::max(0.0, std::round(mean + std::sqrt(mean) * normal())));
  const double least = std::exp(-mean);
  std::uint64_t count = 0;
  for (double product = unit(); product > least; product *= unit()) ++count;
  return count;
}

Zipf::Zipf(std::size_t count, double exponent) {
  GLOWPLUG_ASSERT(count > 0);
  double sum = 0;
  for (std::size_t rank = 0; rank < count; ++rank) {
    sum += std::pow(static_cast<double>(rank + 1), -exponent);
    up_to_.push_back(sum);
  }
  for (double& share : up_to_) share /= sum;
}

std::size_t Zipf::pick(Random& random) const {
  const auto found = std::upper_bound(up_to_.begin(), up_to_.end(), random.unit());
  return std::min(static_cast<std::size_t>(found - up_to_.begin()), up_to_.size() - 1);
}

}  // namespace glowplug::simulate
