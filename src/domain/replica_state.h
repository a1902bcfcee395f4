// The one state of functions and replicas, everywhere: API, CLI, metrics, logs, control channel.
//
//            start                ready
//   Cold ───────────▶ Loading ◀──────────▶ Ready
//                                hand-over, of a spare
//    ▲                   │ │                 │
//    │       load failed │ │ stop            │ stop, idle, replaced, evicted
//    │                   ▼ ▼                 ▼
//    │               Failed  ┌───────▶ Draining
//    │                   │   │               │
//    └───────────────────┴───┴───────────────┘  process gone
//
// A crash of a Ready or Draining process goes straight to Cold or Failed. Nothing leaves Cold but a
// start. Thread: pure values.
#pragma once

#include <string_view>

namespace glowplug::domain {

enum class State { Cold, Loading, Ready, Draining, Failed };

constexpr std::string_view to_string(State state) {
  switch (state) {
    case State::Cold: return "cold";
    case State::Loading: return "loading";
    case State::Ready: return "ready";
    case State::Draining: return "draining";
    case State::Failed: return "failed";
  }
  return "cold";
}

constexpr bool may_follow(State from, State to) {
  switch (from) {
    case State::Cold: return to == State::Loading;
    case State::Loading:
      return to == State::Ready || to == State::Failed || to == State::Draining ||
             to == State::Cold;
    case State::Ready:
      return to == State::Loading || to == State::Draining || to == State::Failed ||
             to == State::Cold;
    case State::Draining: return to == State::Cold || to == State::Failed;
    case State::Failed: return to == State::Cold || to == State::Loading;
  }
  return false;
}

}  // namespace glowplug::domain
