#include "simulate/table_reader.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace glowplug::simulate {
namespace {

constexpr std::size_t kShownBytes = 40;
constexpr std::size_t kShownColumns = 8;

std::string shown(std::string_view text) {
  if (text.size() <= kShownBytes) return fmt::format("'{}'", text);
  return fmt::format("'{}…'", text.substr(0, kShownBytes));
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

}  // namespace

std::optional<std::vector<std::string>> split_row(std::string_view line) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quoted && c == '"' && i + 1 < line.size() && line[i + 1] == '"') {
      fields.back() += '"';
      ++i;
    } else if (c == '"' && (quoted || trimmed(fields.back()).empty())) {
      quoted = !quoted;
    } else if (c == ',' && !quoted) {
      fields.emplace_back();
    } else {
      fields.back() += c;
    }
  }
  if (quoted) return std::nullopt;
  for (std::string& field : fields) field = std::string(trimmed(field));
  return fields;
}

Result<TableReader> TableReader::over(LineReader lines, std::string_view head) {
  auto columns = split_row(head);
  if (!columns) return lines.fault("a quote of the head does not end");
  TableReader table(std::move(lines));
  table.head_ = std::move(*columns);
  return table;
}

bool TableReader::has(std::string_view name) const {
  return std::find(head_.begin(), head_.end(), name) != head_.end();
}

Result<std::size_t> TableReader::column(std::string_view name) const {
  const auto found = std::find(head_.begin(), head_.end(), name);
  if (found != head_.end()) return static_cast<std::size_t>(found - head_.begin());
  const auto shown_end =
      head_.begin() + static_cast<std::ptrdiff_t>(std::min(kShownColumns, head_.size()));
  return fault(
      fmt::format("there is no column `{}`; the head has {}{}", name,
                  fmt::join(head_.begin(), shown_end, ", "), shown_end == head_.end() ? "" : ", …"),
      std::string(name));
}

Result<bool> TableReader::next() {
  while (true) {
    const auto read = lines_.next();
    if (!read) return read.error();
    if (!*read) return false;
    if (trimmed(**read).empty()) continue;
    auto fields = split_row(**read);
    if (!fields) return fault("a quote does not end");
    if (fields->size() != head_.size())
      return fault(
          fmt::format("the row has {} fields and the head {}", fields->size(), head_.size()));
    row_ = std::move(*fields);
    return true;
  }
}

Result<double> TableReader::number(std::size_t column, NumberRange range) const {
  const std::string& text = row_[column];
  double value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc{} || end != text.data() + text.size() || !std::isfinite(value))
    return fault(fmt::format("`{}` must be a number, not {}", head_[column], shown(text)),
                 head_[column]);
  if (value < range.low || value > range.high)
    return fault(fmt::format("`{}` must lie between {} and {}, not {}", head_[column], range.low,
                             range.high, text),
                 head_[column]);
  return value;
}

Result<int> TableReader::whole(std::size_t column, NumberRange range) const {
  const Result<double> value = number(column, range);
  if (!value) return value.error();
  if (*value != std::floor(*value))
    return fault(fmt::format("`{}` must be a whole number, not {}", head_[column], row_[column]),
                 head_[column]);
  return static_cast<int>(*value);
}

}  // namespace glowplug::simulate
