#include "policy/job_window.h"

#include <algorithm>

namespace glowplug::policy {
namespace {

constexpr int kInARowMost = 1'000;  // far beyond what makes a difference

}  // namespace

JobWindow::JobWindow(int places_max) { resize(places_max); }

void JobWindow::answered() {
  in_a_row_ = 0;
  places_ = std::min(places_ + 1 / places_, places_max_);
}

bool JobWindow::refused(std::uint64_t number) {
  if (number <= counted_to_) return false;
  counted_to_ = starts_;
  in_a_row_ = std::min(in_a_row_ + 1, kInARowMost);
  places_ = std::max(places_ / 2, 1.0);
  return true;
}

void JobWindow::resize(int places_max) {
  const bool all = places_ >= places_max_;
  places_max_ = std::max(places_max, 1);
  places_ = all ? places_max_ : std::min(places_, places_max_);
}

}  // namespace glowplug::policy
