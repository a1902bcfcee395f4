// The decision log: every event that a brain was handed, with what it wanted done, so that another
// brain can be asked again. Lines of JSON:
//
//   {"glowplug_log":1,"options":{…}}                       the first one
//   {"manifest":{…},"number":1}  {"facts":{…},"number":1}  before the turn that first names it
//   {"turn":7,"t":…,"wall":…,"event":"CallArrived","is":{…},
//    "effects":[{"GrantCall":{…}},…],"wake":…,"seen":"5f3c…"}
//
// `seen` is a digest of what the brain shows of itself after the turn: what is reserved, how many
// processes, the functions that the turn was about; every 256th turn all functions.
//
// It stands in control/, and not in simulate/, because the live server writes the same lines.
// Prompts and secrets are not in it: control/log_archive.h.
//
// Thread: the brain's owner. Writes no file.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>

#include "base/result.h"
#include "control/brain.h"
#include "control/log_archive.h"

namespace glowplug::control {

class DecisionLog final {
 public:
  // Each with its line's end.
  static std::string head(const BrainOptions& options);
  std::string turn(const Event& event, Time now, WallTime wall, const Effects& effects,
                   const Brain& brain);

 private:
  LogTables tables_;
  std::uint64_t turns_ = 0;
};

// A brain that is asked again, line by line.
class Replay final {
 public:
  // True when this line is what the brain decides now; the error says that the line is no line of a
  // log. After a line that differs, difference() tells.
  Result<bool> take(std::string_view line);

  struct Difference {
    std::uint64_t line = 0;  // from 1
    std::string logged, decided;
  };
  const std::optional<Difference>& difference() const { return difference_; }
  std::uint64_t lines() const { return lines_; }
  std::uint64_t turns() const { return turns_; }

 private:
  Result<bool> begin(std::string_view line);
  Result<bool> turn(std::string_view line, const boost::json::value& value);
  std::string impossible_now(const Event& event);
  void note(const Effect& effect);

  std::optional<Brain> brain_;
  LogTables tables_;  // of what is read
  std::optional<DecisionLog> again_;
  std::vector<std::pair<std::uint64_t, std::string>> unmatched_;  // lines before a turn
  std::set<domain::CallId> waiting_;
  std::uint64_t lines_ = 0, turns_ = 0;
  std::optional<Difference> difference_;
};

}  // namespace glowplug::control
