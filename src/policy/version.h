// Which decisions these are. Whoever changes what is decided on the same events, or the words of a
// reason, raises it: a decision log is replayed by the version that it names (docs/operating/
// simulate.md), and tests/data/decision_logs holds logs that this one decides as they were.
//
// Thread: a constant.
#pragma once

namespace glowplug::policy {

inline constexpr int kPolicyVersion = 2;

}  // namespace glowplug::policy
