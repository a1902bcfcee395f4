#include "policy/even_split.h"

#include <algorithm>

namespace glowplug::policy {

EvenSplit::Amount EvenSplit::flowed(Time now) const {
  const std::int64_t ns = std::max<std::int64_t>(0, (now - at_).count());
  return static_cast<Amount>(ns) * rate_;
}

EvenSplit::Amount EvenSplit::level(Time now) const {
  if (weight_ == 0) return level_;
  return level_ + (flowed(now) << kFineBits) / static_cast<Amount>(weight_);
}

EvenSplit::Amount EvenSplit::total(Time now) const { return total_ + flowed(now); }

EvenSplit::Amount EvenSplit::idle(Time now) const {
  return weight_ == 0 ? idle_ + flowed(now) : idle_;
}

void EvenSplit::advance(Time now) {
  level_ = level(now);
  idle_ = idle(now);
  total_ = total(now);
  at_ = std::max(at_, now);
}

void EvenSplit::set_rate(std::uint64_t rate, Time now) {
  advance(now);
  rate_ = rate;
}

EvenSplit::Holder EvenSplit::join(int weight, Time now) {
  advance(now);
  weight = std::max(1, weight);
  weight_ += weight;
  return {.level = level_, .weight = weight};
}

EvenSplit::Amount EvenSplit::part(const Holder& holder, Time now) const {
  return (level(now) - holder.level) * static_cast<Amount>(holder.weight) >> kFineBits;
}

EvenSplit::Amount EvenSplit::leave(const Holder& holder, Time now) {
  advance(now);
  const Amount mine = part(holder, now);
  weight_ -= holder.weight;
  return mine;
}

}  // namespace glowplug::policy
