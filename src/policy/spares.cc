#include "policy/spares.h"

#include <chrono>

namespace glowplug::policy {
namespace {

using namespace std::chrono_literals;

constexpr Duration kCalledLately = 1h;
constexpr Duration kPatience = 2s;  // with busy cores; a first answer is mostly over by then

}  // namespace

bool keeps_spare(const SpareDemand& demand, Time now) {
  return now - demand.last_used < kCalledLately;
}

bool makes_spare(const SpareDemand& demand, Time now) {
  if (!keeps_spare(demand, now) || now < demand.not_before) return false;
  return !demand.cores_busy || now - demand.not_before >= kPatience;
}

std::optional<Time> spare_review(const SpareDemand& demand, Time now) {
  if (!keeps_spare(demand, now)) return std::nullopt;
  if (now < demand.not_before) return demand.not_before;
  const Time patient = demand.not_before + kPatience;
  return now < patient ? patient : demand.last_used + kCalledLately;
}

}  // namespace glowplug::policy
