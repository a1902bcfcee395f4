#include "policy/schedule.h"

#include <algorithm>
#include <chrono>

namespace glowplug::policy {
namespace {

using std::chrono::days;
using std::chrono::minutes;

struct Span {
  WallTime from, until;
};

// Of the hold that begins on the day at `day`.
Span span_of(const domain::ScheduledHold& hold, WallTime day) {
  const bool over_midnight = hold.until <= hold.from;
  return {day + minutes(hold.from),
          day + minutes(hold.until + (over_midnight ? domain::kMinutesPerDay : 0))};
}

bool begins_on(const domain::ScheduledHold& hold, WallTime day) {
  const std::chrono::weekday weekday(std::chrono::floor<days>(day));
  return (hold.days >> (weekday.iso_encoding() - 1)) & 1;
}

}  // namespace

Scheduled scheduled_at(const domain::Schedule& schedule, WallTime now) {
  Scheduled held;
  const WallTime today = std::chrono::floor<days>(now);
  for (const domain::ScheduledHold& hold : schedule) {
    for (const WallTime day : {today - days(1), today}) {
      const Span span = span_of(hold, day);
      if (!begins_on(hold, day) || now < span.from || now >= span.until) continue;
      held.has_template |= hold.tier == domain::Tier::Template;
      if (hold.tier == domain::Tier::Replica) held.replicas = std::max(held.replicas, hold.count);
    }
  }
  return held;
}

std::optional<WallTime> next_change(const domain::Schedule& schedule, WallTime now) {
  constexpr int kDays = 8;  // a hold of one weekday begins again after seven
  std::optional<WallTime> next;
  const WallTime today = std::chrono::floor<days>(now);
  for (const domain::ScheduledHold& hold : schedule) {
    for (int ahead = -1; ahead < kDays; ++ahead) {
      const WallTime day = today + days(ahead);
      if (!begins_on(hold, day)) continue;
      const Span span = span_of(hold, day);
      for (const WallTime at : {span.from, span.until})
        if (at > now && (!next || at < *next)) next = at;
    }
  }
  return next;
}

}  // namespace glowplug::policy
