#include "cli/progress_line.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include <fmt/format.h>

#include "base/units.h"

namespace glowplug::cli {

std::string progress_line(const Progress& progress) {
  constexpr int kBarWidth = 24;
  const double fraction = std::clamp(progress.fraction, 0.0, 1.0);
  const int filled = static_cast<int>(fraction * kBarWidth);
  std::string line =
      fmt::format("{}  [{}{}] {:3} %", progress.label, std::string(filled, '#'),
                  std::string(kBarWidth - filled, '-'), static_cast<int>(fraction * 100));
  const double gained = fraction - progress.began_at;
  const double seconds = to_seconds(progress.elapsed);
  // Before half a second the rate is noise.
  if (gained <= 0 || seconds < 0.5) return line;
  const double rate = gained / seconds;
  line += fmt::format("  {:.1f} %/s", rate * 100);
  if (fraction >= 1) return line;
  const std::chrono::seconds left{std::max<std::int64_t>(1, std::llround((1 - fraction) / rate))};
  return line + fmt::format("  {} left", format_duration(left));
}

void ProgressPrinter::show(std::string_view label, double fraction, Time now) {
  if (label != progress_.label) {
    finish();
    progress_ = {.label = std::string(label), .fraction = fraction, .began_at = fraction};
    began_ = now;
    tenth_shown_ = -1;
  }
  progress_.fraction = fraction;
  progress_.elapsed = now - began_;
  if (console_.err_is_tty) {
    console_.err << "\r\x1b[K" << progress_line(progress_) << std::flush;
    line_open_ = true;
    return;
  }
  const int tenth = static_cast<int>(std::clamp(fraction, 0.0, 1.0) * 10);
  if (tenth <= tenth_shown_) return;
  tenth_shown_ = tenth;
  console_.err << progress_line(progress_) << std::endl;
}

void ProgressPrinter::finish() {
  if (line_open_) console_.err << std::endl;
  line_open_ = false;
}

}  // namespace glowplug::cli
