// How many processes were started, run now and have ended, by kind, place and reason.
//
//   started = ended + running        of each kind and place, at all times
//
// A spare that is handed over to a function, and a worker standing by that becomes anything, ends
// as the one kind and starts as the other. What was ordered and could not be started counts as
// started and ended (NotStarted).
//
// Thread: whoever owns the object.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <string_view>
#include <utility>

#include "control/effects.h"
#include "domain/exit_reason.h"
#include "domain/ids.h"

namespace glowplug::control {

enum class ProcessKind { Replica, Spare, Template, Measure, Standby };
inline constexpr std::array<std::string_view, 5> kProcessKindNames{"replica", "spare", "template",
                                                                   "measure", "standby"};
constexpr std::string_view to_string(ProcessKind kind) {
  return kProcessKindNames[static_cast<std::size_t>(kind)];
}

enum class Place { Cpu, Accelerator };
constexpr std::string_view to_string(Place place) {
  return place == Place::Cpu ? "cpu" : "accelerator";
}

class ProcessCounts final {
 public:
  struct Kind {
    ProcessKind kind = ProcessKind::Replica;
    Place place = Place::Cpu;
    friend auto operator<=>(const Kind&, const Kind&) = default;
  };
  struct Count {
    std::uint64_t started = 0, running = 0;
    std::array<std::uint64_t, domain::kExitReasonNames.size()> ended{};  // by reason
    std::uint64_t ended_for(domain::ExitReason reason) const {
      return ended[static_cast<std::size_t>(reason)];
    }
  };

  void started(const StartProcess& start);
  void not_started(const StartProcess& start);
  void handed_over(domain::ProcessId spare);  // unknown ids, and what is no spare: nothing
  void ended(domain::ProcessId process, domain::ExitReason reason);  // unknown ids: nothing
  void standby_started();
  void standby_ended(domain::ExitReason reason);  // HandedOver: it was taken

  // Kinds of which one was started, each with what is counted of it.
  std::map<Kind, Count> all() const;

 private:
  Count& of(Kind kind) { return counts_[kind]; }
  void end(Kind kind, domain::ExitReason reason);

  std::map<Kind, Count> counts_;  // `running` is told by those that are there
  std::map<domain::ProcessId, Kind> running_;
  std::uint64_t standing_by_ = 0;
};

}  // namespace glowplug::control
