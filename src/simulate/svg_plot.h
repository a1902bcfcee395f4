// Line charts as one SVG file: panels below each other, each with axes, ticks and a legend. Plain
// text of fixed precision, alike for equal figures. Thread: pure functions.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace glowplug::simulate {

enum class Mark { Line, Point };

struct PlotLine {
  std::string label;
  std::vector<std::pair<double, double>> points;  // in the order of x
  Mark mark = Mark::Line;
};

enum class Axis {
  Linear,
  Logarithmic
};  // of a logarithmic one values below its first tick are cut

struct Panel {
  std::string title, x_label, y_label;
  Axis x_axis = Axis::Linear, y_axis = Axis::Linear;
  std::vector<PlotLine> lines;
};

std::string svg_of(const std::string& title, const std::vector<Panel>& panels);

// 1, 2 or 5 times a power of ten apart, about `count` of them from 0 to `most`.
std::vector<double> ticks(double most, int count);

}  // namespace glowplug::simulate
