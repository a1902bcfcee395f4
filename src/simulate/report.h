// A run's figures for people (within 80 columns), for programs and as a picture. Equal figures give
// equal bytes. Thread: pure functions.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "simulate/totals.h"

namespace glowplug::simulate {

struct ReportRow {
  std::string what, value, more;
};
std::vector<ReportRow> report_rows(const Figures& figures, const WorldModel& model);

// One object, without spaces; seconds, bytes and micro-units.
std::string report_json(const Figures& figures, const WorldModel& model);

// Calls and memory over time, replicas and templates, how long calls waited.
std::string report_plot(const std::string& title, const Figures& figures);

// Of several policies: memory-seconds against what calls waited for starts, and how long each made
// calls wait.
std::string plan_plot(const std::vector<std::pair<std::string, Figures>>& policies);

}  // namespace glowplug::simulate
