#include "cli/table.h"

#include <algorithm>
#include <string_view>

#include "base/result.h"

namespace glowplug::cli {
namespace {

constexpr std::size_t kCellMost = 300;

// Code points, so that a name in UTF-8 does not shift what follows it.
std::size_t width_of(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

// Bytes at the beginning of `text` that move a terminal's cursor or turn the line around: controls,
// U+0080 to 9f, U+202a to e and U+2066 to 9.
std::size_t unprintable(std::string_view text) {
  const auto byte = [&text](std::size_t at) {
    return at < text.size() ? static_cast<unsigned char>(text[at]) : 0U;
  };
  if (byte(0) < 0x20 || byte(0) == 0x7f) return 1;
  if (byte(0) == 0xc2 && byte(1) >= 0x80 && byte(1) <= 0x9f) return 2;
  if (byte(0) != 0xe2) return 0;
  if (byte(1) == 0x80 && byte(2) >= 0xaa && byte(2) <= 0xae) return 3;
  return byte(1) == 0x81 && byte(2) >= 0xa6 && byte(2) <= 0xa9 ? 3 : 0;
}

// A cell's text may be anybody's.
std::string printable(std::string_view text) {
  std::string shown;
  while (!text.empty()) {
    const std::size_t hidden = unprintable(text);
    shown += hidden > 0 ? '?' : text.front();
    text.remove_prefix(std::max<std::size_t>(hidden, 1));
  }
  return shown;
}

// A long one is cut: the whole of it is in --json.
std::string cell(const std::string& text) {
  std::string shown = printable(text);
  if (width_of(shown) <= kCellMost) return shown;
  std::size_t end = 0;
  for (std::size_t points = 0; points < kCellMost; ++end)
    if ((shown[end] & 0xC0) != 0x80) ++points;
  return shown.substr(0, end - 1) + "…";
}

}  // namespace

std::string layout_table(const std::vector<Column>& columns,
                         const std::vector<std::vector<std::string>>& texts) {
  std::vector<std::vector<std::string>> rows = texts;
  for (auto& row : rows) std::transform(row.begin(), row.end(), row.begin(), cell);
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
