#include "simulate/line_reader.h"

#include <cerrno>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <zlib.h>

#include <fmt/format.h>
#include <sys/stat.h>

#include "domain/errors.h"

namespace glowplug::simulate {
namespace {

constexpr std::size_t kReadBytes = 256 * 1024;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

}  // namespace

struct LineReader::File {
  gzFile handle = nullptr;
  ~File() {
    if (handle != nullptr) ::gzclose(handle);
  }
};

LineReader::LineReader(std::string path, std::unique_ptr<File> file, std::size_t line_bytes_max)
    : path_(std::move(path)), line_bytes_max_(line_bytes_max), file_(std::move(file)) {}
LineReader::LineReader(LineReader&&) noexcept = default;
LineReader& LineReader::operator=(LineReader&&) noexcept = default;
LineReader::~LineReader() = default;

Result<LineReader> LineReader::open(const std::string& path, std::size_t line_bytes_max) {
  const auto cannot = [&path](const std::string& why) {
    return Error{std::string(domain::error::kInvalidValue),
                 fmt::format("'{}' cannot be read: {}", path, why), "trace"};
  };
  auto file = std::make_unique<File>();
  if (path == "-") {
    const int copy = ::dup(STDIN_FILENO);
    if (copy >= 0) file->handle = ::gzdopen(copy, "rb");
    if (file->handle == nullptr) return cannot(std::generic_category().message(errno));
    return LineReader("stdin", std::move(file), line_bytes_max);
  }
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return cannot(std::generic_category().message(errno));
  if (S_ISDIR(status.st_mode)) return cannot("it is a folder");
  file->handle = ::gzopen(path.c_str(), "rb");
  if (file->handle == nullptr) return cannot(std::generic_category().message(errno));
  return LineReader(path, std::move(file), line_bytes_max);
}

Error LineReader::fault(const std::string& what, const std::string& field) const {
  return {std::string(domain::error::kInvalidValue), fmt::format("{}:{}: {}", path_, line_, what),
          field};
}

bool LineReader::fill() {
  if (ended_) return false;
  buffer_.erase(0, std::exchange(at_, 0));
  const std::size_t before = buffer_.size();
  buffer_.resize(before + kReadBytes);
  const int read = ::gzread(file_->handle, buffer_.data() + before, kReadBytes);
  buffer_.resize(before + static_cast<std::size_t>(std::max(0, read)));
  int code = Z_OK;
  const std::string said = ::gzerror(file_->handle, &code);
  if (read < 0 || code == Z_BUF_ERROR || code == Z_DATA_ERROR) {
    ended_ = true;  // and what came before it is whole
    broken_ = code == Z_BUF_ERROR
                  ? "the file ends in the midst of its compressed data; copy it again"
                  : fmt::format("the file is damaged: {}", said);
    return read > 0;
  }
  ended_ = read == 0;
  return read > 0;
}

Result<std::optional<std::string_view>> LineReader::next() {
  std::size_t looked = 0;
  std::size_t end = std::string::npos;
  while ((end = buffer_.find('\n', at_ + looked)) == std::string::npos) {
    looked = buffer_.size() - at_;
    if (looked > line_bytes_max_) {
      ++line_;
      return fault(fmt::format("the line is longer than {} bytes", line_bytes_max_));
    }
    if (fill()) continue;
    if (!broken_.empty()) {
      ++line_;  // the one that would have come
      return fault(broken_);
    }
    if (at_ == buffer_.size()) return std::optional<std::string_view>{};
    end = buffer_.size();
    break;
  }
  std::string_view text(buffer_.data() + at_, end - at_);
  whole_ = end < buffer_.size();
  at_ = std::min(end + 1, buffer_.size());
  if (++line_ == 1 && text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  if (text.ends_with('\r')) text.remove_suffix(1);
  return std::optional(text);
}

}  // namespace glowplug::simulate
