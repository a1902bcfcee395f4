#include "app/decision_recorder.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <fcntl.h>
#include <filesystem>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include "base/units.h"
#include "domain/errors.h"

namespace glowplug::app {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

constexpr Duration kGather = 50ms;  // lines that come within it are written at once
constexpr std::size_t kGatherBytes = 256 * 1024;
constexpr std::size_t kEndBytesMax = 256;  // of the last line
constexpr std::string_view kSuffix = ".log";

std::string words_of(int error) { return std::generic_category().message(error); }

Error cannot(const std::string& what, const std::string& why) {
  return {std::string(domain::error::kServerError), fmt::format("'{}': {}", what, why), ""};
}

std::string file_name(WallTime now) {
  const auto second = std::chrono::floor<std::chrono::seconds>(now);
  return fmt::format("{:%Y-%m-%dT%H-%M-%S}.{:03}Z{}",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(second)),
                     (now - second).count(), kSuffix);
}

// The oldest go, by name, until the others have half of the bytes.
void make_room(const std::string& folder, std::uint64_t bytes_max) {
  std::error_code error;
  std::vector<std::pair<fs::path, std::uint64_t>> files;
  std::uint64_t bytes = 0;
  fs::directory_iterator at(folder, error);
  for (; !error && at != fs::directory_iterator(); at.increment(error)) {
    const fs::directory_entry& entry = *at;
    std::error_code ignored;
    if (!entry.is_regular_file(ignored) || entry.path().extension() != kSuffix) continue;
    files.emplace_back(entry.path(), entry.file_size(ignored));
    bytes += files.back().second;
  }
  std::sort(files.begin(), files.end());
  std::size_t left = files.size();
  for (const auto& [path, size] : files) {
    if (bytes <= bytes_max / 2 && left < kDecisionFilesMax) return;
    if (!fs::remove(path, error)) continue;
    bytes -= size;
    --left;
  }
}

}  // namespace

Result<std::unique_ptr<DecisionRecorder>> DecisionRecorder::open(
    Options options, const control::BrainOptions& brain) {
  std::error_code error;
  fs::create_directories(options.folder, error);
  if (error) return cannot(options.folder, error.message());
  ::chmod(options.folder.c_str(), 0700);
  make_room(options.folder, options.bytes_max);
  std::string path = options.folder + "/" + file_name(options.now);
  UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file.valid()) return cannot(path, words_of(errno));
  return std::unique_ptr<DecisionRecorder>(
      new DecisionRecorder(std::move(options), std::move(path), std::move(file), brain));
}

DecisionRecorder::DecisionRecorder(Options options, std::string path, UniqueFd file,
                                   const control::BrainOptions& brain)
    : options_(std::move(options)),
      path_(std::move(path)),
      file_(std::move(file)),
      thread_([this] { run(); }) {
  put(log_.head(brain, {.build = options_.build}));
}

DecisionRecorder::~DecisionRecorder() {
  if (!ended_) end(control::kLogClosed);
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

// --- the loop ---

void DecisionRecorder::turn(const control::Event& event, Time now, WallTime wall,
                            const control::Effects& effects, const control::Brain& brain) {
  if (!ended_) put(log_.turn(event, now, wall, effects, brain));
}

// The end always has room: it is counted from the beginning.
void DecisionRecorder::put(std::string_view lines) {
  if (bytes_ + lines.size() + kEndBytesMax > options_.bytes_max / 2) {
    const std::string why = fmt::format("full at {}", format_bytes(options_.bytes_max / 2));
    tell(why + " (setting decision_log)");
    return end(why);
  }
  bool wakes = false, slow = false;
  {
    const std::lock_guard lock(mutex_);
    if (broken_) {
      ended_ = true;
      return;
    }
    const std::size_t before = pending_.size();
    slow = before + lines.size() > options_.pending_bytes_max;
    if (!slow) pending_ += lines;
    wakes = before == 0 || (before < kGatherBytes && pending_.size() >= kGatherBytes);
  }
  if (slow) {
    const std::string_view why = "the disk is slower than turns come";
    tell(why);
    return end(why);
  }
  bytes_ += lines.size();
  if (wakes) wake_.notify_one();
}

void DecisionRecorder::end(std::string_view why) {
  ended_ = true;
  const std::lock_guard lock(mutex_);
  if (!broken_) pending_ += control::DecisionLog::end(why);
  wake_.notify_one();
}

void DecisionRecorder::tell(std::string_view why) const {
  spdlog::warn("the decision log {} ends here: {}; what is decided from now on is not in it", path_,
               why);
}

// --- the thread ---

void DecisionRecorder::run() {
  std::unique_lock lock(mutex_);
  while (!broken_) {
    wake_.wait(lock, [this] { return closing_ || !pending_.empty(); });
    wake_.wait_for(lock, kGather, [this] { return closing_ || pending_.size() >= kGatherBytes; });
    if (pending_.empty()) return;
    const std::string lines = std::exchange(pending_, {});
    lock.unlock();
    write_all(lines);
    lock.lock();
  }
}

void DecisionRecorder::write_all(const std::string& lines) {
  std::size_t done = 0;
  while (done < lines.size()) {
    const ssize_t wrote = options_.write(file_.get(), lines.data() + done, lines.size() - done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) {
      const int error = wrote < 0 ? errno : ENOSPC;
      const std::size_t end = done == 0 ? std::string::npos : lines.rfind('\n', done - 1);
      written_ += end == std::string::npos ? 0 : end + 1;
      return give_up(error);
    }
    done += static_cast<std::size_t>(wrote);
  }
  written_ += lines.size();
}

// The last whole line is kept, and why there are no more where a few bytes still fit.
void DecisionRecorder::give_up(int error) {
  tell(words_of(error));
  if (::ftruncate(file_.get(), static_cast<off_t>(written_)) == 0 &&
      ::lseek(file_.get(), 0, SEEK_END) >= 0) {
    const std::string end = control::DecisionLog::end(words_of(error));
    if (options_.write(file_.get(), end.data(), end.size()) != static_cast<ssize_t>(end.size()))
      (void)!::ftruncate(file_.get(), static_cast<off_t>(written_));
  }
  const std::lock_guard lock(mutex_);
  broken_ = true;
  pending_.clear();
}

}  // namespace glowplug::app
