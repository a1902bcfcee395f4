// What a run came to: calls and what became of them, starts, waits, memory and cores, in sum and
// over time.
//
//   waited for starts  what calls waited for a start: all phases before the grant but the queue
//   memory-seconds     reserved bytes × time, templates and spares among them
//   device-seconds     of accelerators: the time in which somebody was on it, whole devices; of the
//                      machine itself: the share of its memory that was reserved × time
//   computing          cores at work × time, over all cores
//
// Thread: the world's.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "simulate/histogram.h"
#include "simulate/observer.h"
#include "simulate/world_model.h"

namespace glowplug::simulate {

// Figures of spans of equal length, which becomes twice as long when there are too many of them.
struct Series {
  struct Span {
    std::uint64_t calls = 0, cold = 0, refused = 0;
    double reserved_byte_s = 0, replica_s = 0, template_s = 0, device_s = 0;
  };
  Duration length = std::chrono::seconds(1);
  std::vector<Span> spans;
};

struct Figures {
  Duration length{};  // from the beginning to the last call's end
  std::uint64_t calls = 0, answered = 0, broken = 0, timed_out = 0, left = 0, clamped = 0;
  std::map<std::string, std::uint64_t> refused;  // by code
  std::uint64_t refusals() const;
  std::uint64_t lost() const { return broken + timed_out + left; }
  std::uint64_t prompt_tokens = 0, output_tokens = 0;
  std::uint64_t cold = 0;
  std::array<std::uint64_t, domain::kTierNames.size()> cold_from{};  // by tier
  std::uint64_t executed = 0, forked = 0, handed_over = 0, woken = 0, spares = 0, templates = 0;
  std::uint64_t evicted = 0, crashed = 0;
  Duration waited_for_starts{};
  Histogram wait;         // from the arrival to the grant
  Histogram first_token;  // from the arrival
  double reserved_byte_s = 0, replica_s = 0, template_s = 0;
  double machine_byte_s = 0;  // of them, what is not on an accelerator
  std::uint64_t reserved_most = 0;
  struct DeviceUse {
    int there = 0, most = 0;  // devices; with somebody on them at once
    double device_s = 0;
    std::uint64_t answered = 0;
  };
  std::map<std::string, DeviceUse> devices;  // by type, accelerators
  int replicas_most = 0;
  double busy_core_s = 0;
  std::optional<Histogram> turns;  // how long the brain's took, where that was asked
  Series series;
};

class Totals final : public Observer {
 public:
  Totals(Time beginning, const Machine& machine);

  void turned(const Turn& turn) override;
  void call_ended(const CallResult& result) override;
  void end(Time now, double busy_core_seconds);
  const Figures& figures() const { return figures_; }
  std::uint64_t turns() const { return turns_; }  // of the brain

 private:
  struct InUse {
    Figures::DeviceUse* of = nullptr;  // its type
    int holders = 0;
    std::uint64_t reserved = 0;
  };
  void pass(Time now);
  void started(const control::StartProcess& start, const control::Brain& brain);
  void gone(const control::ProcessGone& event, const control::Brain& brain);
  void use(domain::DeviceId id, int more, const control::Brain& brain);
  Series::Span& span_at(Time at);
  void halve();

  Figures figures_;
  Time beginning_, at_;
  std::uint64_t reserved_ = 0;
  std::unordered_map<std::uint64_t, control::Role> processes_;
  int replicas_ = 0, templates_ = 0;
  std::uint64_t turns_ = 0;
  std::vector<InUse> fleet_;
  std::unordered_map<std::uint64_t, std::vector<domain::DeviceId>> places_;  // by process
  std::map<Figures::DeviceUse*, int> used_;                                  // devices, now
  std::uint64_t on_devices_ = 0;                                             // bytes reserved
  int devices_used_ = 0;
};

// What the run cost: device-seconds at the price by the hour of each type, and the fee of each call
// that was answered, by where (policy/cost.h). An error names a type that has no price.
struct Bill {
  domain::Money held, fees, total;
};
Result<Bill> bill_of(const Figures& figures, const WorldModel& model);

// Of the machine itself, and of all that it has.
inline double machine_seconds(const Figures& figures, const Machine& machine) {
  return figures.machine_byte_s /
         static_cast<double>(std::max<std::uint64_t>(1, machine.memory_bytes));
}
double device_seconds(const Figures& figures, const Machine& machine);
inline double computing_seconds(const Figures& figures, const Machine& machine) {
  return figures.busy_core_s / std::max(1, machine.cores);
}

}  // namespace glowplug::simulate
