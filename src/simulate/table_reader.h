// A file of comma-separated values with a head: rows of text, and fields of them as numbers. A
// field may stand in double quotes; blank lines are passed over.
//
// Thread: one owner.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "simulate/line_reader.h"

namespace glowplug::simulate {

struct NumberRange {
  double low = 0;
  double high = 0;
};

class TableReader final {
 public:
  // `head` is the line that has been read already.
  static Result<TableReader> over(LineReader lines, std::string_view head);

  // Where a column is; the error names it and those that are there.
  Result<std::size_t> column(std::string_view name) const;
  bool has(std::string_view name) const;
  const std::vector<std::string>& head() const { return head_; }

  // The next row, as long as the head; false at the end. The error names the line.
  Result<bool> next();
  std::string_view text(std::size_t column) const { return row_[column]; }
  Result<double> number(std::size_t column, NumberRange range) const;
  Result<int> whole(std::size_t column, NumberRange range) const;
  std::uint64_t line() const { return lines_.line(); }
  Error fault(const std::string& what, const std::string& field = "") const {
    return lines_.fault(what, field);
  }

 private:
  explicit TableReader(LineReader lines) : lines_(std::move(lines)) {}

  LineReader lines_;
  std::vector<std::string> head_;
  std::vector<std::string> row_;
};

// The fields of one line; nothing when a quote does not end.
std::optional<std::vector<std::string>> split_row(std::string_view line);

}  // namespace glowplug::simulate
