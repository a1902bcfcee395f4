#include "simulate/svg_plot.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

namespace glowplug::simulate {
namespace {

constexpr double kWidth = 860, kHeight = 230;  // of a panel
constexpr double kLeft = 70, kRight = 170, kTop = 34, kBottom = 42;
constexpr double kHead = 36;  // above the first panel
constexpr double kInnerWidth = kWidth - kLeft - kRight;
constexpr double kInnerHeight = kHeight - kTop - kBottom;
constexpr int kTicks = 5;
constexpr std::array<std::string_view, 10> kColours{"#1f6f8b", "#d1495b", "#66a182", "#edae49",
                                                    "#574ae2", "#8c564b", "#e377c2", "#7f7f7f",
                                                    "#17becf", "#000000"};

std::string escaped(const std::string& text) {
  std::string safe;
  for (const char c : text) {
    if (c == '&')
      safe += "&amp;";
    else if (c == '<')
      safe += "&lt;";
    else if (c == '>')
      safe += "&gt;";
    else if (c == '"')
      safe += "&quot;";
    else
      safe += c;
  }
  return safe;
}

// 1500 → 1.5k
std::string short_number(double value) {
  if (value == 0) return "0";
  const double size = std::fabs(value);
  if (size >= 1e9) return fmt::format("{:g}G", value / 1e9);
  if (size >= 1e6) return fmt::format("{:g}M", value / 1e6);
  if (size >= 1e3) return fmt::format("{:g}k", value / 1e3);
  return fmt::format("{:g}", value);
}

// From values to places along an axis.
struct Scale {
  double low = 0, high = 1;
  Axis axis = Axis::Linear;
  double share(double value) const {
    if (axis == Axis::Linear) return high > low ? (value - low) / (high - low) : 0;
    return std::log(std::max(value, low) / low) / std::log(high / low);
  }
  std::vector<double> marks(int count) const {
    if (axis == Axis::Linear) return ticks(high, count);
    std::vector<double> tens;
    for (double mark = low; mark <= high * 1.0001; mark *= 10) tens.push_back(mark);
    return tens;
  }
};

// Over all values; a linear one begins at zero and leaves `room` above the highest.
Scale scale_of(const std::vector<double>& values, Axis axis, double room) {
  double most = 0, least = 0;  // above zero
  for (const double value : values) {
    most = std::max(most, value);
    if (value > 0 && (least == 0 || value < least)) least = value;
  }
  if (axis == Axis::Linear) return {.high = most > 0 ? most * room : 1, .axis = axis};
  const double low = least > 0 ? std::pow(10, std::floor(std::log10(least))) : 1;
  const double high = std::pow(10, std::ceil(std::log10(std::max(most, low * 10)) - 1e-9));
  return {.low = low, .high = high, .axis = axis};
}

struct Scales {
  Scale x, y;
  double left(double value) const { return kLeft + kInnerWidth * x.share(value); }
  double top(double value) const { return kTop + kInnerHeight * (1 - y.share(value)); }
};

Scales scales_of(const Panel& panel) {
  std::vector<double> xs, ys;
  for (const PlotLine& line : panel.lines)
    for (const auto& [x, y] : line.points) {
      xs.push_back(x);
      ys.push_back(y);
    }
  const bool has_points = std::any_of(panel.lines.begin(), panel.lines.end(),
                                      [](const auto& line) { return line.mark == Mark::Point; });
  return {scale_of(xs, panel.x_axis, has_points ? 1.05 : 1), scale_of(ys, panel.y_axis, 1.05)};
}

void add_text(std::string& svg, double x, double y, std::string_view anchor,
              const std::string& text) {
  svg += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", x, y, anchor,
                     escaped(text));
}

void add_axes(std::string& svg, const Panel& panel, const Scales& scales) {
  const auto grid = [&svg](double x1, double y1, double x2, double y2) {
    svg += fmt::format(
        "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" "
        "stroke=\"#ddd\"/>\n",
        x1, y1, x2, y2);
  };
  for (const double mark : scales.y.marks(kTicks)) {
    const double at = scales.top(mark);
    grid(kLeft, at, kLeft + kInnerWidth, at);
    add_text(svg, kLeft - 6, at + 4, "end", short_number(mark));
  }
  for (const double mark : scales.x.marks(kTicks + 2)) {
    const double at = scales.left(mark);
    grid(at, kTop, at, kTop + kInnerHeight);
    add_text(svg, at, kTop + kInnerHeight + 16, "middle", short_number(mark));
  }
  svg += fmt::format(
      "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" "
      "fill=\"none\" stroke=\"#888\"/>\n",
      kLeft, kTop, kInnerWidth, kInnerHeight);
  add_text(svg, kLeft + kInnerWidth / 2, kHeight - 10, "middle", panel.x_label);
  add_text(svg, kLeft, kTop - 10, "start",
           panel.title + (panel.y_label.empty() ? "" : " (" + panel.y_label + ")"));
}

void add_dot(std::string& svg, double x, double y, std::string_view colour) {
  svg += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"5\" fill=\"{}\" stroke=\"#fff\"/>\n",
                     x, y, colour);
}

void add_line(std::string& svg, const PlotLine& line, std::size_t number, const Scales& scales) {
  const std::string_view colour = kColours[number % kColours.size()];
  std::string places;
  for (const auto& [x, y] : line.points) {
    if (line.mark == Mark::Point)
      add_dot(svg, scales.left(x), scales.top(y), colour);
    else
      places +=
          fmt::format("{}{:.1f},{:.1f}", places.empty() ? "" : " ", scales.left(x), scales.top(y));
  }
  if (!places.empty())
    svg +=
        fmt::format("<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\"/>\n",
                    places, colour);
  const double y = kTop + 14 + 18 * static_cast<double>(number);
  const double left = kLeft + kInnerWidth + 12;
  if (line.mark == Mark::Point)
    add_dot(svg, left + 8, y - 4, colour);
  else
    svg += fmt::format(
        "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" "
        "stroke=\"{}\" stroke-width=\"3\"/>\n",
        left, y - 4, left + 16, y - 4, colour);
  add_text(svg, left + 22, y, "start", line.label);
}

}  // namespace

std::vector<double> ticks(double most, int count) {
  if (!(most > 0) || count < 1) return {0};
  const double rough = most / count;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  double step = power * 10;
  for (const double nice : {1.0, 2.0, 5.0})
    if (power * nice >= rough * 0.999) {
      step = power * nice;
      break;
    }
  std::vector<double> all;
  for (int i = 0; i * step <= most * 1.0001; ++i) all.push_back(i * step);
  return all;
}

std::string svg_of(const std::string& title, const std::vector<Panel>& panels) {
  const double height = kHead + kHeight * static_cast<double>(panels.size());
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" "
      "viewBox=\"0 0 {0:.0f} {1:.0f}\" font-family=\"sans-serif\" font-size=\"12\" "
      "fill=\"#222\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
      kWidth, height);
  svg += fmt::format("<text x=\"{:.0f}\" y=\"22\" font-size=\"15\">{}</text>\n", kLeft,
                     escaped(title));
  for (std::size_t i = 0; i < panels.size(); ++i) {
    const Panel& panel = panels[i];
    const Scales scales = scales_of(panel);
    svg += fmt::format("<g transform=\"translate(0,{:.0f})\">\n",
                       kHead + kHeight * static_cast<double>(i));
    add_axes(svg, panel, scales);
    for (std::size_t line = 0; line < panel.lines.size(); ++line)
      add_line(svg, panel.lines[line], line, scales);
    svg += "</g>\n";
  }
  return svg + "</svg>\n";
}

}  // namespace glowplug::simulate
