// The decision log: every event that a brain was handed, with what it wanted done, so that another
// brain can be asked again. Lines of JSON:
//
//   {"glowplug_log":2,"policy":1,"build":"glowplug 0.1.0","options":{…}}   the first one
//   {"manifest":{…},"number":1}  {"facts":{…},"number":1}  before the turn that first names it
//   {"turn":7,"t":…,"wall":…,"event":"CallArrived","is":{…},
//    "effects":[{"GrantCall":{…}},…],"wake":…,"seen":"5f3c…","sum":"09ab…"}
//   {"end":"closed"}                                       the last one, unless it breaks off
//
// `seen` is a digest of what the brain shows of itself after the turn: what is reserved, how many
// processes, the functions that the turn was about, and one more, each in its turn. `sum` is one of
// all bytes of the log before it, so that damage is not taken for another decision.
//
// It stands in control/, and not in simulate/, because the live server writes the same lines.
// Prompts and secrets are not in it (control/log_archive.h), unless a process said them last: its
// last line is part of the cause of its end.
//
// Thread: the brain's owner. Writes no file.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/fnv.h"
#include "base/result.h"
#include "control/brain.h"
#include "control/log_archive.h"
#include "policy/version.h"

namespace glowplug::control {

// Whose decisions a log holds.
struct LogOrigin {
  int policy = policy::kPolicyVersion;
  std::string build;
};

inline constexpr std::string_view kLogClosed = "closed";  // the end of a log that is whole

class DecisionLog final {
 public:
  explicit DecisionLog(Secrets secrets = Secrets::Hidden) : secrets_(secrets) {}

  // All with their line's end, to be written in this order.
  std::string head(const BrainOptions& options, const LogOrigin& origin);
  std::string turn(const Event& event, Time now, WallTime wall, const Effects& effects,
                   const Brain& brain);
  static std::string end(std::string_view why);

 private:
  std::uint64_t digest_of(const Event& event, const Effects& effects, const Brain& brain);

  Secrets secrets_;
  LogTables tables_;
  Fnv sum_;
  std::uint64_t turns_ = 0;
  std::set<std::string> known_;  // functions that were seen
  std::string looked_at_;        // the last of them that had its turn
};

enum class OtherPolicy { Refuse, Replay };

// A brain that is asked again, line by line.
class Replay final {
 public:
  explicit Replay(OtherPolicy other = OtherPolicy::Refuse) : other_(other) {}

  // True when this line is what the brain decides now; the error says that the line is no line of a
  // log, is damaged, or is of another version. After a line that differs, difference() tells.
  Result<bool> take(std::string_view line);

  struct Difference {
    std::uint64_t line = 0;  // from 1
    std::string logged, decided;
  };
  const std::optional<Difference>& difference() const { return difference_; }
  const LogOrigin& origin() const { return origin_; }
  std::uint64_t lines() const { return lines_; }
  std::uint64_t turns() const { return turns_; }
  const std::optional<std::string>& end() const { return end_; }  // none: it breaks off

 private:
  Result<bool> begin(std::string_view line);
  Result<void> check_origin(const boost::json::object& head);
  Result<bool> turn(std::string_view line, const boost::json::value& value);
  Result<void> check_sum(std::string_view line);
  std::string impossible_now(const Event& event);
  void note(const Effect& effect);

  OtherPolicy other_;
  LogOrigin origin_;
  std::optional<Brain> brain_;
  LogTables tables_;  // of what is read
  Fnv sum_;
  DecisionLog again_{Secrets::AsTheyAre};
  std::vector<std::pair<std::uint64_t, std::string>> unmatched_;  // lines before a turn
  std::set<domain::CallId> waiting_;
  std::uint64_t lines_ = 0, turns_ = 0;
  std::optional<std::string> end_;
  std::optional<Difference> difference_;
};

}  // namespace glowplug::control
