#include "cli/table.h"

#include <algorithm>

#include "base/result.h"

namespace glowplug::cli {
namespace {

// Code points, so that a name in UTF-8 does not shift what follows it.
std::size_t width_of(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace

std::string layout_table(const std::vector<Column>& columns,
                         const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  std::vector<std::string> heads;
  for (const Column& column : columns) {
    heads.push_back(column.head);
    widths.push_back(width_of(column.head));
  }
  for (const auto& row : rows) {
    GLOWPLUG_ASSERT(row.size() == columns.size());
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
  }
  std::string out;
  const auto add_row = [&](const std::vector<std::string>& row) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string padding(widths[i] - width_of(row[i]), ' ');
      if (i > 0) line += "  ";
      line += columns[i].align == Align::Right ? padding + row[i] : row[i] + padding;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  };
  if (std::any_of(heads.begin(), heads.end(), [](const auto& head) { return !head.empty(); }))
    add_row(heads);
  for (const auto& row : rows) add_row(row);
  return out;
}

}  // namespace glowplug::cli
