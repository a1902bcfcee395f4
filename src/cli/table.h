// Columns under a head (none where no column has one), each as wide as its widest cell, two spaces
// apart, no space at a line's end. Control characters are shown as ?, and of a very long cell the
// beginning. Thread: a value.
#pragma once

#include <string>
#include <vector>

namespace glowplug::cli {

enum class Align { Left, Right };

struct Column {
  std::string head;
  Align align = Align::Left;
};

// Without a head where none of the columns has one.
std::string layout_table(const std::vector<Column>& columns,
                         const std::vector<std::vector<std::string>>& rows);

}  // namespace glowplug::cli
