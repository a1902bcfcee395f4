// What a replica prints, as lines: LineSplitter cuts a byte stream, LogRing keeps the last lines of
// a function.
//
// Both are bounded whatever a process prints: a longer line loses its end, older lines make room
// for newer. Text is made safe to show: control characters and bytes that are not UTF-8 become '?'.
//
// Thread: one owner. Reads no file descriptor itself.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace glowplug::runtime {

enum class LineEnd { Whole, Cut };  // Cut: the line was over the limit and its rest is dropped

class LineSplitter final {
 public:
  using Sink = std::function<void(std::string_view line, LineEnd end)>;

  explicit LineSplitter(std::size_t line_bytes_max) : line_bytes_max_(line_bytes_max) {}

  void feed(std::string_view bytes, const Sink& sink);
  void finish(const Sink& sink);  // a last line without its newline
  bool over() const {
    return end_ == LineEnd::Cut;
  }  // the line under way is already over the limit

 private:
  std::size_t line_bytes_max_;
  std::string line_;
  LineEnd end_ = LineEnd::Whole;
};

class LogRing final {
 public:
  LogRing(std::size_t lines_max, std::size_t bytes_max)
      : lines_max_(lines_max), bytes_max_(bytes_max) {}

  void push(std::string line);
  std::vector<std::string> lines() const { return {lines_.begin(), lines_.end()}; }  // oldest first

 private:
  std::size_t lines_max_;
  std::size_t bytes_max_;
  std::size_t bytes_ = 0;
  std::deque<std::string> lines_;
};

std::string printable(std::string_view text);

}  // namespace glowplug::runtime
