// A text file line by line, compressed with gzip or not, of any size: a buffer is all that is held.
// A line ends with LF or CR LF; the last one need not end.
//
// Thread: one owner.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace glowplug::simulate {

inline constexpr std::size_t kLineBytesMax = 1 << 20;
inline constexpr std::size_t kLogLineBytesMax = 1 << 26;  // a turn may refuse thousands of calls

class LineReader final {
 public:
  static Result<LineReader> open(const std::string& path,  // "-" is stdin
                                 std::size_t line_bytes_max = kLineBytesMax);
  LineReader(LineReader&&) noexcept;
  LineReader& operator=(LineReader&&) noexcept;
  ~LineReader();

  // Valid until the next call; nothing at the end. The error names file and line: what is cut off,
  // damaged or longer than line_bytes_max ends it.
  Result<std::optional<std::string_view>> next();
  std::uint64_t line() const { return line_; }  // number of the last one, from 1
  bool whole() const { return whole_; }         // the last one has its end
  const std::string& path() const { return path_; }
  // "trace.csv:17: what is wrong and what to do"; `field` is its param.
  Error fault(const std::string& what, const std::string& field = "") const;

 private:
  struct File;
  LineReader(std::string path, std::unique_ptr<File> file, std::size_t line_bytes_max);
  bool fill();  // false at the end, or where it breaks off

  std::string path_;
  std::size_t line_bytes_max_;
  std::unique_ptr<File> file_;
  std::string buffer_;
  std::size_t at_ = 0;
  std::uint64_t line_ = 0;
  bool whole_ = true;
  bool ended_ = false;
  std::string broken_;  // why nothing comes after what is held
};

}  // namespace glowplug::simulate
