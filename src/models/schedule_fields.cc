#include "models/schedule_fields.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include <boost/json/object.hpp>
#include <fmt/format.h>

#include "domain/limits.h"

namespace glowplug::models {
namespace {

namespace json = boost::json;
using domain::ScheduledHold;
using domain::Tier;

constexpr std::size_t kHoldsMax = 32;
constexpr std::array<std::string_view, 7> kDays{"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
constexpr std::uint8_t kEveryDay = 0x7f;

std::optional<std::size_t> day_of(std::string_view word) {
  const auto* found = std::find(kDays.begin(), kDays.end(), word);
  if (found == kDays.end()) return std::nullopt;
  return static_cast<std::size_t>(found - kDays.begin());
}

// "mon-fri", "sat,sun", "fri-mon"; "every day" is the word all.
std::optional<std::uint8_t> days_of(std::string_view text) {
  if (text == "all") return kEveryDay;
  unsigned days = 0;
  while (true) {
    const std::string_view part = text.substr(0, text.find(','));
    const std::size_t dash = part.find('-');
    const auto first = day_of(part.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : day_of(part.substr(dash + 1));
    if (!first || !last) return std::nullopt;
    for (std::size_t day = *first;; day = (day + 1) % kDays.size()) {
      days |= 1U << day;
      if (day == *last) break;
    }
    if (part.size() == text.size()) return static_cast<std::uint8_t>(days);
    text.remove_prefix(part.size() + 1);
  }
}

std::optional<int> number_of(std::string_view text, int below) {
  int number = -1;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (ec != std::errc() || end != text.data() + text.size() || text.size() != 2 || number < 0 ||
      number >= below)
    return std::nullopt;
  return number;
}

// "08:30"
std::optional<int> minute_of(std::string_view text) {
  if (text.size() != 5 || text[2] != ':') return std::nullopt;
  const auto hour = number_of(text.substr(0, 2), 24);
  const auto minute = number_of(text.substr(3), 60);
  if (!hour || !minute) return std::nullopt;
  return *hour * 60 + *minute;
}

void read_minute(ManifestFields& fields, std::string_view key, int& into) {
  std::string text;
  fields.read_text(key, text, 16);
  if (text.empty() && fields.find(key) == nullptr) return fields.fault(key, "is missing");
  const auto minute = minute_of(text);
  if (!minute)
    return fields.fault(key, fmt::format("must be an hour and a minute in UTC such as \"08:30\", "
                                         "in quotes, not \"{}\"",
                                         text));
  into = *minute;
}

ScheduledHold read_hold(ManifestFields fields, const domain::Manifest& manifest) {
  ScheduledHold hold;
  fields.refuse_unknown({"days", "from", "until", "tier", "count"});
  std::string days = "all";
  fields.read_text("days", days, 64);
  if (const auto read = days_of(days))
    hold.days = *read;
  else
    fields.fault("days",
                 fmt::format("must be days such as mon-fri or sat,sun, or all, not \"{}\"", days));
  read_minute(fields, "from", hold.from);
  read_minute(fields, "until", hold.until);
  fields.read_choice<Tier>("tier", hold.tier,
                           {{"template", Tier::Template}, {"replica", Tier::Replica}});
  fields.read_int("count", hold.count, {1, domain::kReplicasMax});
  if (hold.tier == Tier::Template && hold.count != 1)
    fields.fault("count", "is for tier replica: a template is one");
  if (hold.tier == Tier::Replica && hold.count > std::max(1, manifest.scale.max))
    fields.fault("count", fmt::format("is {}, more than scale.max, which is {}", hold.count,
                                      manifest.scale.max));
  return hold;
}

std::string days_text(std::uint8_t days) {
  if (days == kEveryDay) return "all";
  std::string text;
  for (std::size_t day = 0; day < kDays.size(); ++day)
    if (days & (1U << day)) text += fmt::format("{}{}", text.empty() ? "" : ",", kDays[day]);
  return text;
}

std::string minute_text(int minute) { return fmt::format("{:02}:{:02}", minute / 60, minute % 60); }

}  // namespace

void read_schedule(ManifestFields& fields, domain::Manifest& manifest) {
  const json::value* value = fields.find("schedule");
  if (value == nullptr) return;
  if (!value->is_array() || value->get_array().size() > kHoldsMax)
    return fields.fault("schedule",
                        fmt::format("must be a list of at most {} holds such as {{days: "
                                    "mon-fri, from: \"08:30\", until: \"18:00\"}}",
                                    kHoldsMax));
  int number = 0;
  for (const json::value& one : value->get_array()) {
    const std::string path = fmt::format("schedule[{}]", number++);
    if (!one.is_object()) {
      fields.fault(path, fmt::format("must be a mapping, not {}", shown(one)));
      continue;
    }
    manifest.schedule.push_back(
        read_hold(ManifestFields(one.get_object(), path, fields.faults()), manifest));
  }
}

json::array schedule_array(const domain::Schedule& schedule) {
  json::array list;
  for (const ScheduledHold& hold : schedule)
    list.emplace_back(json::object{{"days", days_text(hold.days)},
                                   {"from", minute_text(hold.from)},
                                   {"until", minute_text(hold.until)},
                                   {"tier", domain::to_string(hold.tier)},
                                   {"count", hold.count}});
  return list;
}

}  // namespace glowplug::models
