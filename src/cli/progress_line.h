// Progress of something that takes long: a bar that is rewritten on a terminal, a line every 10 %
// elsewhere. Thread: ProgressPrinter belongs to the command that runs.
#pragma once

#include <string>

#include "base/time_types.h"
#include "cli/console.h"

namespace glowplug::cli {

struct Progress {
  std::string label;
  double fraction = 0;  // now, 0..1
  double began_at =
      0;               // fraction when this client began to look: a resumed download starts above 0
  Duration elapsed{};  // since then
};

// "fetching  [######----------]  40 %  2.0 %/s  30.0 s left"; rate and rest once they are known.
std::string progress_line(const Progress& progress);

class ProgressPrinter final {
 public:
  explicit ProgressPrinter(const Console& console) : console_(console) {}
  ~ProgressPrinter() { finish(); }
  ProgressPrinter(const ProgressPrinter&) = delete;
  ProgressPrinter& operator=(const ProgressPrinter&) = delete;

  void show(std::string_view label, double fraction, Time now);
  void finish();  // leaves the last line standing

 private:
  const Console& console_;
  Progress progress_;
  Time began_{};
  int tenth_shown_ = -1;
  bool line_open_ = false;
};

}  // namespace glowplug::cli
