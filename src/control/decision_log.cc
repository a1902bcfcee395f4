#include "control/decision_log.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "control/log_fields.h"
#include "domain/errors.h"
#include "domain/limits.h"

namespace glowplug::control {
namespace {

namespace json = boost::json;

constexpr int kVersion = 2;
constexpr std::uint64_t kOneMoreEvery = 4;  // turns: a view takes longer than many a turn
constexpr std::string_view kSum = ",\"sum\":\"", kSumEnd = "\"}";

// "Tick" of glowplug::control::Tick, as the compiler spells it: no list of names can fall behind
// the types.
template <typename One>
constexpr std::string_view word_of() {
  constexpr std::string_view kMark = "One = ";
  std::string_view word = __PRETTY_FUNCTION__;
  word.remove_prefix(word.find(kMark) + kMark.size());
  word = word.substr(0, word.find_first_of(";]"));
  return word.substr(word.rfind(':') + 1);
}
template <typename Variant, std::size_t... Index>
constexpr auto words_of(std::index_sequence<Index...>) {
  return std::array{word_of<std::variant_alternative_t<Index, Variant>>()...};
}
constexpr auto kEventNames =
    words_of<Event>(std::make_index_sequence<std::variant_size_v<Event>>{});
constexpr auto kEffectNames =
    words_of<Effect>(std::make_index_sequence<std::variant_size_v<Effect>>{});
static_assert(kEventNames.front() == "FunctionPut" && kEffectNames.back() == "Decision");

void add(Fnv& digest, std::uint64_t value) {
  std::array<char, sizeof(value)> bytes{};
  for (char& byte : bytes) {
    byte = static_cast<char>(value & 0xff);
    value >>= 8;
  }
  digest.add({bytes.data(), bytes.size()});
}
void add(Fnv& digest, const std::string& text) {
  add(digest, text.size());
  digest.add(text);
}
void add(Fnv& digest, const FunctionView& view) {
  add(digest, view.manifest.name);
  for (const std::int64_t number :
       {static_cast<std::int64_t>(view.revision), static_cast<std::int64_t>(view.state),
        static_cast<std::int64_t>(view.tier), static_cast<std::int64_t>(view.waiting),
        static_cast<std::int64_t>(view.in_flight), static_cast<std::int64_t>(view.memory_bytes),
        static_cast<std::int64_t>(view.calls), static_cast<std::int64_t>(view.cold_starts)})
    add(digest, static_cast<std::uint64_t>(number));
  add(digest, view.reason);
  for (const ReplicaView& replica : view.replicas) {
    add(digest, replica.replica.value);
    add(digest, static_cast<std::uint64_t>(replica.state));
    add(digest, static_cast<std::uint64_t>(replica.in_flight));
    add(digest, replica.memory_bytes);
  }
}

// The function that an event is about, where it says so itself.
template <typename One>
void add_name(std::set<std::string>& names, const One& one) {
  if constexpr (requires { std::string(one.function); }) names.insert(one.function);
  if constexpr (requires { one.manifest.name; }) names.insert(one.manifest.name);
}

Error no_log(std::uint64_t line, const std::string& what) {
  return {std::string(domain::error::kInvalidValue), fmt::format("line {}: {}", line, what), "log"};
}

// What no settings give a brain.
std::string impossible_options(const BrainOptions& options) {
  std::size_t devices = 0;
  for (const domain::Device& row : options.accelerators) {
    if (row.count < 1 || row.is_cpu()) return "a row of accelerators has none";
    devices += static_cast<std::size_t>(row.count);
  }
  if (devices > domain::kDevicesMax)
    return fmt::format("there are {} accelerators; at most {} can be", devices,
                       domain::kDevicesMax);
  if (options.cores < 1 || options.cores > domain::kCoresMax) return "cores is out of range";
  if (options.spares < 0 || options.spares > domain::kSparesMax) return "spares is out of range";
  if (options.scale_speed < 1 || options.scale_speed > domain::kAutoscalerSpeedMax)
    return "scale_speed is out of range";
  if (options.budget_per_hour.micros < 0) return "budget_per_hour is less than nothing";
  return "";
}

// An event of this name, as the archive reads it.
template <std::size_t Index = 0>
std::optional<Event> read_event(std::string_view name, LogReader& reader, const json::value& is) {
  if constexpr (Index == std::variant_size_v<Event>) {
    return std::nullopt;
  } else {
    if (name != kEventNames[Index]) return read_event<Index + 1>(name, reader, is);
    std::variant_alternative_t<Index, Event> event{};
    reader.object(is, event);
    return event;
  }
}

std::optional<std::int64_t> integer(const json::object& object, std::string_view name) {
  const json::value* found = object.if_contains(name);
  return found != nullptr && found->is_int64() ? std::optional(found->get_int64()) : std::nullopt;
}

}  // namespace

std::string DecisionLog::head(const BrainOptions& options, const LogOrigin& origin) {
  LogWriter writer(tables_, secrets_);
  writer.raw(
      fmt::format("{{\"glowplug_log\":{},\"policy\":{},\"build\":", kVersion, origin.policy));
  writer.string(origin.build);
  writer.raw(",\"options\":");
  writer.object(options);
  writer.raw("}\n");
  std::string line = writer.take();
  sum_.add(line);
  return line;
}

std::string DecisionLog::turn(const Event& event, Time now, WallTime wall, const Effects& effects,
                              const Brain& brain) {
  LogWriter writer(tables_, secrets_);
  writer.raw(fmt::format("{{\"turn\":{},\"t\":{},\"wall\":{},\"event\":\"{}\",\"is\":", ++turns_,
                         now.time_since_epoch().count(), wall.time_since_epoch().count(),
                         kEventNames[event.index()]));
  std::visit([&writer](const auto& one) { writer.object(one); }, event);
  writer.raw(",\"effects\":[");
  bool first = true;
  for (const Effect& effect : effects.list) {
    writer.raw(fmt::format("{}{{\"{}\":", std::exchange(first, false) ? "" : ",",
                           kEffectNames[effect.index()]));
    std::visit([&writer](const auto& one) { writer.object(one); }, effect);
    writer.raw("}");
  }
  const std::string wake =
      effects.wake_at ? std::to_string(effects.wake_at->time_since_epoch().count()) : "null";
  writer.raw(
      fmt::format("],\"wake\":{},\"seen\":\"{:016x}\"", wake, digest_of(event, effects, brain)));
  std::string lines = writer.take_definitions() + writer.take();
  sum_.add(lines);
  const std::string sum = fmt::format("{}{:016x}{}", kSum, sum_.value(), kSumEnd);
  sum_.add(sum);
  sum_.add("\n");
  return lines + sum + "\n";
}

std::string DecisionLog::end(std::string_view why) {
  LogTables none;
  LogWriter writer(none);
  writer.raw("{\"end\":");
  writer.string(why);
  writer.raw("}\n");
  return writer.take();
}

std::uint64_t DecisionLog::digest_of(const Event& event, const Effects& effects,
                                     const Brain& brain) {
  Fnv digest;
  add(digest, brain.reserved_bytes());
  add(digest, brain.replicas());
  add(digest, brain.templates());
  std::set<std::string> names;
  std::visit([&names](const auto& one) { add_name(names, one); }, event);
  for (const Effect& effect : effects.list)
    std::visit([&names](const auto& one) { add_name(names, one); }, effect);
  if (turns_ % kOneMoreEvery == 0 && !known_.empty()) {
    auto next = known_.upper_bound(looked_at_);
    if (next == known_.end()) next = known_.begin();
    looked_at_ = *next;
    names.insert(looked_at_);
  }
  for (const std::string& name : names) {
    const auto view = brain.function(name);
    if (!view) {
      known_.erase(name);
      continue;
    }
    known_.insert(name);
    add(digest, *view);
  }
  return digest.value();
}

// --- once more ---

Result<bool> Replay::take(std::string_view line) {
  ++lines_;
  if (!brain_) return begin(line);
  if (end_) return no_log(lines_, "something follows the end of the log");
  json::error_code code;
  const json::value value = json::parse(line, code);
  if (code || !value.is_object())
    return no_log(lines_, code ? fmt::format("this is no JSON: {}", code.message())
                               : "each line must be an object");
  if (const json::value* why = value.get_object().if_contains("end")) {
    if (!why->is_string() || !unmatched_.empty()) return no_log(lines_, "the end says why it is");
    end_ = std::string(why->get_string());
    return true;
  }
  LogReader reader(tables_);
  if (reader.take_definition(value)) {
    if (!reader.ok()) return no_log(lines_, reader.fault());
    sum_.add(line);
    sum_.add("\n");
    unmatched_.emplace_back(lines_, line);
    return true;
  }
  return turn(line, value);
}

Result<bool> Replay::begin(std::string_view line) {
  json::error_code code;
  const json::value value = json::parse(line, code);
  const bool is_head =
      !code && value.is_object() && integer(value.get_object(), "glowplug_log").has_value();
  if (!is_head)
    return no_log(lines_, "this is no decision log; it begins with {\"glowplug_log\":2,…}");
  const json::object& head = value.get_object();
  if (const auto same = check_origin(head); !same) return same.error();
  const json::value* options = head.if_contains("options");
  if (options == nullptr) return no_log(lines_, "the head has no options");
  BrainOptions read;
  LogReader reader(tables_);
  reader.object(*options, read);
  if (!reader.ok()) return no_log(lines_, reader.fault());
  if (const std::string impossible = impossible_options(read); !impossible.empty())
    return no_log(lines_, "options: " + impossible);
  brain_.emplace(read);
  sum_.add(line);
  sum_.add("\n");
  std::string decided = again_.head(read, origin_);
  decided.pop_back();
  if (decided == line) return true;
  difference_ = Difference{lines_, std::string(line), decided};
  return false;
}

Result<void> Replay::check_origin(const json::object& head) {
  const std::int64_t version = *integer(head, "glowplug_log");
  if (version != kVersion)
    return no_log(lines_, fmt::format("the log has version {}, and this program reads {}", version,
                                      kVersion));
  const auto policy = integer(head, "policy");
  const json::value* build = head.if_contains("build");
  if (!policy || build == nullptr || !build->is_string())
    return no_log(lines_, "the head names no policy and build");
  origin_ = {.policy = static_cast<int>(*policy), .build = std::string(build->get_string())};
  if (*policy == policy::kPolicyVersion || other_ == OtherPolicy::Replay) return {};
  return no_log(lines_,
                fmt::format("it was decided by policy version {} ({}), and this program has "
                            "version {}; replay it with that program, or with "
                            "--other-policy to see what is decided otherwise now",
                            *policy, origin_.build, policy::kPolicyVersion));
}

// Before anything of it is believed.
Result<void> Replay::check_sum(std::string_view line) {
  const std::size_t length = kSum.size() + 16 + kSumEnd.size();
  const std::size_t at = line.size() - std::min(line.size(), length);
  sum_.add(line.substr(0, at));
  const std::string sum = fmt::format("{}{:016x}{}", kSum, sum_.value(), kSumEnd);
  if (line.substr(at) != sum)
    return no_log(lines_,
                  "the log is damaged: here, or since the turn before, it is not as it was "
                  "written");
  sum_.add(sum);
  sum_.add("\n");
  return {};
}

// What no server would tell its brain, and a brain does not bear.
std::string Replay::impossible_now(const Event& event) {
  if (const auto* arrived = std::get_if<CallArrived>(&event)) {
    if (arrived->weight < 1) return "a call weighs at least 1";
    waiting_.insert(arrived->call);
  }
  if (const auto* left = std::get_if<CallAbandoned>(&event)) waiting_.erase(left->call);
  if (const auto* ended = std::get_if<CallEnded>(&event); ended && waiting_.contains(ended->call))
    return fmt::format("call {} ends here and was never granted", ended->call.value);
  if (const auto* traffic = std::get_if<TrafficSet>(&event)) {
    const bool weighed = std::all_of(traffic->served.begin(), traffic->served.end(),
                                     [](const auto& one) { return one.weight > 0; });
    if (traffic->served.empty() || !weighed) return "traffic goes to no revision";
  }
  return "";
}

void Replay::note(const Effect& effect) {
  if (const auto* granted = std::get_if<GrantCall>(&effect)) waiting_.erase(granted->call);
  if (const auto* refused = std::get_if<RefuseCall>(&effect)) waiting_.erase(refused->call);
}

Result<bool> Replay::turn(std::string_view line, const json::value& value) {
  if (const auto whole = check_sum(line); !whole) return whole.error();
  const json::object& object = value.get_object();
  const auto now = integer(object, "t"), wall = integer(object, "wall");
  const json::value* name = object.if_contains("event");
  const json::value* is = object.if_contains("is");
  if (!now || !wall || name == nullptr || !name->is_string() || is == nullptr)
    return no_log(lines_, "a turn has t, wall, event and is");
  if (integer(object, "turn") != static_cast<std::int64_t>(turns_ + 1))
    return no_log(lines_, fmt::format("turn {} is missing here", turns_ + 1));
  LogReader reader(tables_);
  const std::string_view word(name->get_string());
  const std::optional<Event> event = read_event(word, reader, *is);
  if (!event) return no_log(lines_, fmt::format("there is no event `{}`", word));
  if (!reader.ok()) return no_log(lines_, fmt::format("{}: {}", word, reader.fault()));
  if (const std::string impossible = impossible_now(*event); !impossible.empty())
    return no_log(lines_, impossible);
  const Time at{Duration(*now)};
  const WallTime wall_at{std::chrono::milliseconds(*wall)};
  const Effects effects = brain_->handle(*event, at, wall_at);
  for (const Effect& effect : effects.list) note(effect);
  ++turns_;
  std::string decided = again_.turn(*event, at, wall_at, effects, *brain_);
  unmatched_.emplace_back(lines_, line);
  for (const auto& [number, logged] : std::exchange(unmatched_, {})) {
    const std::string one = decided.substr(0, decided.find('\n'));
    decided.erase(0, std::min(decided.size(), one.size() + 1));
    if (one == logged) continue;
    difference_ = Difference{number, logged, one};
    return false;
  }
  if (decided.empty()) return true;
  difference_ = Difference{lines_, "", decided};
  return false;
}

}  // namespace glowplug::control
