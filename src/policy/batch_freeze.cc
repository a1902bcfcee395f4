#include "policy/batch_freeze.h"

#include <algorithm>

namespace glowplug::policy {

void FreezeBook::add_up(Time now) {
  (frozen_ ? stood_ : ran_) += now - since_;
  since_ = now;
  if (ran_ >= kRunsLeast) stood_ = ran_ = Duration(0);
}

void FreezeBook::note(bool frozen, Time now) {
  add_up(now);
  frozen_ = frozen;
}

bool FreezeBook::has_stood(Time now) const {
  FreezeBook copy = *this;
  copy.add_up(now);
  return copy.stood_ > Duration(0) || copy.frozen_;
}

bool FreezeBook::may_freeze(Time now) const {
  FreezeBook copy = *this;
  copy.add_up(now);
  return copy.stood_ < kFrozenMost;
}

std::optional<Time> FreezeBook::review(Time now) const {
  FreezeBook copy = *this;
  copy.add_up(now);
  if (frozen_) return now + std::max(Duration(0), kFrozenMost - copy.stood_);
  if (copy.stood_ < kFrozenMost) return std::nullopt;
  return now + (kRunsLeast - copy.ran_);
}

}  // namespace glowplug::policy
