#include "control/crash_record.h"

#include <algorithm>
#include <utility>

#include "policy/retry.h"

namespace glowplug::control {
namespace {

bool ran(const ServingDeath& death, domain::CallId call) {
  return std::any_of(death.calls.begin(), death.calls.end(),
                     [call](const CallAboard& aboard) { return aboard.call == call; });
}

}  // namespace

std::string_view how_it_ended(std::string_view cause) { return cause.substr(0, cause.find(": ")); }

void CrashRecord::add(ServingDeath death) {
  if (deaths_.size() == kKept) deaths_.erase(deaths_.begin());
  deaths_.push_back(std::move(death));
}

bool CrashRecord::is_loop(int revision, std::string_view cause, Time now) const {
  std::vector<Time> alike;
  for (const ServingDeath& death : deaths_)
    if (death.revision == revision && death.cause == cause && !death.forgiven)
      alike.push_back(death.at);
  return policy::is_crash_loop(alike, now);
}

int CrashRecord::deaths_of(domain::CallId call) const {
  return static_cast<int>(
      std::count_if(deaths_.begin(), deaths_.end(),
                    [call](const ServingDeath& death) { return ran(death, call); }));
}

void CrashRecord::forgive(domain::CallId call) {
  for (ServingDeath& death : deaths_) {
    if (!ran(death, call) && death.request != call) continue;
    death.forgiven = true;
    death.request.reset();
  }
}

bool CrashRecord::forgive_suspect(int revision) {
  const auto suspect =
      std::find_if(deaths_.begin(), deaths_.end(), [revision](const ServingDeath& death) {
        return death.revision == revision && death.request.has_value();
      });
  if (suspect == deaths_.end()) return false;
  forgive(domain::CallId(*suspect->request));  // a copy: that is reset
  return true;
}

void CrashRecord::forget(int revision) {
  std::erase_if(deaths_,
                [revision](const ServingDeath& death) { return death.revision == revision; });
}

}  // namespace glowplug::control
