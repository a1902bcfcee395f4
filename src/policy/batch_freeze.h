// How long batch work stands still while other work needs its cores: kFrozenMost at a time, added
// up over the short pauses between; then it runs for kRunsLeast beside whoever works.
//
// Thread: values.
#pragma once

#include <chrono>
#include <optional>

#include "base/time_types.h"

namespace glowplug::policy {

inline constexpr Duration kFrozenMost = std::chrono::seconds(10);
inline constexpr Duration kRunsLeast = std::chrono::seconds(2);

// Of one replica with work under way.
class FreezeBook final {
 public:
  explicit FreezeBook(Time begin) : since_(begin) {}

  void note(bool frozen, Time now);  // from now on
  bool is_frozen() const { return frozen_; }
  bool has_stood(Time now) const;  // since it last had its time
  bool may_freeze(Time now) const;
  // When the answer changes, should it stay as it is; nothing where it does not.
  std::optional<Time> review(Time now) const;

 private:
  void add_up(Time now);

  bool frozen_ = false;
  Time since_;                // up to which it is added up
  Duration stood_{}, ran_{};  // since it last had its time
};

}  // namespace glowplug::policy
