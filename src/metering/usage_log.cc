#include "metering/usage_log.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <optional>
#include <unistd.h>
#include <utility>

#include <fmt/format.h>
#include <sys/stat.h>

#include "base/read_file.h"
#include "domain/errors.h"
#include "storage/usage_store.h"

namespace glowplug::metering {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSuffix = ".log";

Error cannot(std::string_view what, const std::string& path, int number) {
  return {std::string(domain::error::kStorageFailed),
          fmt::format("the usage log '{}' cannot be {}: {}", path, what, std::strerror(number)),
          {}};
}

// Of a file that only grows: what lies from `offset` on, up to `limit`.
Result<std::string> read_part(const std::string& path, std::uint64_t offset, std::uint64_t limit) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return cannot("read", path, errno);
  std::string text(limit - offset, '\0');
  std::size_t got = 0;
  while (got < text.size()) {
    const ssize_t n =
        ::pread(fd.get(), text.data() + got, text.size() - got, static_cast<off_t>(offset + got));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return cannot("read", path, errno);
    if (n == 0) break;
    got += static_cast<std::size_t>(n);
  }
  text.resize(got);
  return text;
}

// Into the table, rows alone; what they begin is not asked.
Result<LinesRead> insert_lines(storage::Database& database, std::string_view text) {
  std::optional<Error> fault;
  const LinesRead read = read_lines(text, [&](const UsageRecord& record) {
    const auto* row = std::get_if<storage::UsageRow>(&record);
    if (row == nullptr || fault) return;
    if (const auto inserted = storage::insert_usage(database, *row); !inserted)
      fault = inserted.error();
  });
  if (fault) return *fault;
  return read;
}

// Whose end is in none of the segments: the calls that were running.
using OpenCalls = std::unordered_map<std::string, Intent>;

Result<void> recover_segment(storage::Database& database, const std::string& path,
                             const std::string& name, OpenCalls& open) {
  const std::optional<std::string> text = read_file(path);
  if (!text) return cannot("read", path, errno);
  const Result<std::int64_t> folded = storage::folded_until(database, name);
  if (!folded) return folded.error();
  read_lines(*text, [&open](UsageRecord record) {
    if (auto* intent = std::get_if<Intent>(&record))
      open.insert_or_assign(intent->request, std::move(*intent));
    else
      open.erase(std::get<storage::UsageRow>(record).request);
  });
  const auto from = std::min(static_cast<std::size_t>(*folded), text->size());
  const auto inserted = insert_lines(database, std::string_view(*text).substr(from));
  if (!inserted) return inserted.error();
  return {};
}

struct FoldStep {
  std::uint64_t offset = 0;
  std::size_t damaged = 0;
};

}  // namespace

Result<std::unique_ptr<UsageLog>> UsageLog::open(Parts parts) {
  const std::string folder = parts.folder;
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return cannot("made", folder, errno);
  std::unique_ptr<UsageLog> log(new UsageLog(std::move(parts)));
  std::error_code fault;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, fault)) {
    const std::string name = entry.path().filename().string();
    if (!name.ends_with(kSuffix)) continue;
    log->left_.push_back(name);
    const auto number = std::strtoull(name.c_str(), nullptr, 10);
    log->next_number_ = std::max<std::uint64_t>(log->next_number_, number + 1);
  }
  if (fault) return cannot("read", folder, fault.value());
  std::sort(log->left_.begin(), log->left_.end());  // names are as long as each other
  return log;
}

UsageLog::~UsageLog() = default;

// --- what an earlier server has left ---

UsageLog::Work UsageLog::recovery() const {
  return [folder = parts_.folder, left = left_](storage::Database& database) -> Result<void> {
    OpenCalls open;
    for (const std::string& name : left)
      if (auto done = recover_segment(database, folder + "/" + name, name, open); !done)
        return done;
    for (const auto& [request, intent] : open)
      if (auto done = storage::insert_usage(database, lost_row(intent)); !done) return done;
    for (const std::string& name : left)
      if (auto done = storage::forget_folded(database, name); !done) return done;
    return {};
  };
}

void UsageLog::after_recovery() {
  for (const std::string& name : left_) ::unlink(path_of(name).c_str());
  left_.clear();
}

Result<void> UsageLog::recover(const std::function<Result<void>(Work)>& run) {
  if (left_.empty()) return {};
  if (auto done = run(recovery()); !done) {
    ++counts_.failed_folds;
    return done;
  }
  after_recovery();
  return {};
}

// --- appending ---

void UsageLog::begin(const Intent& intent) {
  append({.line = line_of(intent), .request = intent.request, .is_close = false});
}

void UsageLog::close(const storage::UsageRow& row) {
  append({.line = line_of(row), .request = row.request, .is_close = true});
  if (std::exchange(wanted_, true)) return;
  parts_.wants_fold();
}

void UsageLog::append(Record record) {
  while (!unwritten_.empty() && write_out(unwritten_.front())) unwritten_.pop_front();
  if (unwritten_.empty() && write_out(record)) return;
  ++counts_.failed_writes;
  if (unwritten_.size() < kUnwrittenMax)
    unwritten_.push_back(std::move(record));
  else
    ++counts_.dropped;
}

bool UsageLog::write_out(const Record& record) {
  const bool is_full = !segments_.empty() && segments_.back().bytes >= kSegmentBytesMax;
  if ((!fd_.valid() || is_full) && !begin_segment() && !fd_.valid()) return false;
  const std::string line = torn_ ? "\n" + record.line : record.line;
  ssize_t written = 0;
  do {
    written = ::write(fd_.get(), line.data(), line.size());
  } while (written < 0 && errno == EINTR);
  if (written <= 0) return false;
  segments_.back().bytes += static_cast<std::uint64_t>(written);
  written_ += static_cast<std::uint64_t>(written);
  torn_ = static_cast<std::size_t>(written) < line.size();
  if (torn_) return false;
  note(record);
  return true;
}

bool UsageLog::begin_segment() {
  const std::string name = fmt::format("{:012}{}", next_number_, kSuffix);
  UniqueFd fd(
      ::open(path_of(name).c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600));
  if (!fd.valid()) return false;
  ++next_number_;
  fd_ = std::move(fd);
  torn_ = false;
  segments_.push_back({.name = name});
  return true;
}

void UsageLog::note(const Record& record) {
  if (!record.is_close) {
    if (open_.emplace(record.request, segments_.back().name).second) ++segments_.back().open;
    return;
  }
  last_close_ = written_;
  const auto began = open_.extract(record.request);
  if (!began) return;
  for (Segment& segment : segments_)
    if (segment.name == began.mapped()) --segment.open;
}

// --- folding ---

void UsageLog::fold() {
  wanted_ = false;
  if (busy_) return;
  if (!left_.empty()) {
    busy_ = true;
    return parts_.write(recovery(), [this](const Result<void>& outcome) {
      busy_ = false;
      if (!outcome) return after_fold(0, 0, outcome);
      after_recovery();
      fold();
    });
  }
  while (!unwritten_.empty() && write_out(unwritten_.front())) unwritten_.pop_front();
  const auto next = std::find_if(segments_.begin(), segments_.end(),
                                 [](const Segment& one) { return one.folded < one.bytes; });
  if (next == segments_.end() || folded_ >= last_close_) return tell_awaited({});
  fold_segment(*next);
}

void UsageLog::fold_segment(const Segment& segment) {
  busy_ = true;
  const std::uint64_t from = segment.folded;
  const std::uint64_t limit = std::min(segment.bytes, from + kFoldBytes);
  const auto step = std::make_shared<FoldStep>();  // owners: both lambdas
  parts_.write(
      [step, path = path_of(segment.name), name = segment.name, from,
       limit](storage::Database& database) -> Result<void> {
        const auto text = read_part(path, from, limit);
        if (!text) return text.error();
        const auto read = insert_lines(database, *text);
        if (!read) return read.error();
        *step = {.offset = from + read->bytes, .damaged = read->damaged};
        return storage::set_folded(database, name, static_cast<std::int64_t>(step->offset));
      },
      [this, step, limit](const Result<void>& outcome) {
        busy_ = false;
        if (outcome) counts_.damaged += step->damaged;
        after_fold(step->offset, limit, outcome);
      });
}

void UsageLog::after_fold(std::uint64_t offset, std::uint64_t limit, const Result<void>& outcome) {
  if (!outcome) {
    ++counts_.failed_folds;
    tell_awaited(outcome);
    if (!std::exchange(wanted_, true)) parts_.wants_fold();
    return;
  }
  for (Segment& segment : segments_) {
    if (segment.folded == segment.bytes) continue;
    if (offset == segment.folded) {  // its end was cut off, or somebody else has changed the file
      ++counts_.damaged;
      offset = limit;
    }
    folded_ += offset - segment.folded;
    segment.folded = offset;
    break;
  }
  remove_done();
  go_on();
}

void UsageLog::go_on() {
  if (busy_) return;
  const bool is_awaited = !awaited_.empty() && folded_ < awaited_.front().until;
  if (!is_awaited) tell_awaited({});
  if (folded_ >= last_close_) return;
  if (is_awaited || last_close_ - folded_ >= kFoldBytes) return fold();
  if (!std::exchange(wanted_, true)) parts_.wants_fold();
}

// First it is forgotten how much of them is folded, then they go: left behind in between, they are
// folded anew, which changes nothing. The other way round a new file of that name would be thought
// folded.
void UsageLog::remove_done() {
  std::vector<std::string> done;
  while (segments_.size() > 1 && segments_.front().folded == segments_.front().bytes &&
         segments_.front().open == 0) {
    done.push_back(segments_.front().name);
    segments_.pop_front();
  }
  if (done.empty()) return;
  busy_ = true;
  parts_.write(
      [done](storage::Database& database) -> Result<void> {
        for (const std::string& name : done)
          if (auto forgotten = storage::forget_folded(database, name); !forgotten) return forgotten;
        return {};
      },
      [this, done](const Result<void>& outcome) {
        busy_ = false;
        if (outcome)  // otherwise the next server's affair
          for (const std::string& name : done) ::unlink(path_of(name).c_str());
        go_on();
      });
}

void UsageLog::when_folded(std::function<void(const Result<void>&)> done) {
  awaited_.push_back({.until = last_close_, .done = std::move(done)});
  if (!busy_) fold();
}

void UsageLog::tell_awaited(const Result<void>& outcome) {
  while (!awaited_.empty() && (!outcome || awaited_.front().until <= folded_)) {
    const Awaited one = std::move(awaited_.front());
    awaited_.pop_front();
    one.done(outcome);
  }
}

UsageLogCounts UsageLog::counts() const {
  UsageLogCounts counts = counts_;
  for (const Segment& segment : segments_) counts.bytes += segment.bytes;
  counts.open = open_.size();
  return counts;
}

}  // namespace glowplug::metering
