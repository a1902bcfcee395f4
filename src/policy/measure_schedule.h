// When which process's memory is measured: soon after it is ready, right after its first answer (it
// may go the next moment, for another's call), and every 10 s while it lives; one at a time, and so
// seldom that measuring takes a twentieth of a core at most, however many there are.
//
// Thread: pure; whoever owns the object.
#pragma once

#include <map>
#include <optional>

#include "base/time_types.h"
#include "domain/ids.h"

namespace glowplug::policy {

class MeasureSchedule final {
 public:
  void add(domain::ProcessId process, Time now);  // it is ready
  void note_answer(domain::ProcessId process, Time now);
  void ask(domain::ProcessId process, Time now);  // somebody wants to see it
  void remove(domain::ProcessId process);         // also while it is measured
  bool contains(domain::ProcessId process) const { return processes_.contains(process); }

  // The one to measure now, which is then out until done(); nothing while one is out.
  std::optional<domain::ProcessId> take(Time now);
  void done(Time now, Duration took);
  std::optional<Time> next() const;  // when to take again; nothing while one is out

 private:
  struct Process {
    Time due{};
    bool answered = false;
  };
  std::map<domain::ProcessId, Process> processes_;
  std::optional<domain::ProcessId> out_;
  Time rests_until_{};
};

}  // namespace glowplug::policy
