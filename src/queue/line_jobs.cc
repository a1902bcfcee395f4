#include "queue/line_jobs.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace glowplug::queue {
namespace {

using storage::Database;

constexpr std::size_t kPageBytes = 8 * 1024 * 1024;

struct Counted {
  BatchJobs::Counts counts;
  std::vector<std::uint64_t> open;  // jobs that are not over
};

Result<Counted> count_jobs(Database& database, std::int64_t batch) {
  Counted found;
  auto select = database.prepare("SELECT id, state, batch_line FROM jobs WHERE batch = ?");
  if (!select) return select.error();
  select->bind(batch);
  while (true) {
    const Result<bool> row = select->step();
    if (!row) return row.error();
    if (!*row) return found;
    const auto state = static_cast<domain::JobState>(select->number(1));
    ++found.counts.jobs;
    if (!is_terminal(state))
      found.open.push_back(static_cast<std::uint64_t>(select->number(0)));
    else
      ++found.counts.over;
    if (state == domain::JobState::Completed) ++found.counts.completed;
    if (state == domain::JobState::Failed) ++found.counts.failed;
    const auto line = static_cast<std::uint64_t>(select->number(2));
    found.counts.last_line = std::max(found.counts.last_line, line);
  }
}

struct Found {
  domain::JobId job;
  std::uint64_t line = 0;
};

Result<std::vector<Found>> find_lines(Database& database, std::int64_t batch, std::uint64_t behind,
                                      std::size_t rows_max) {
  auto select = database.prepare(
      "SELECT id, batch_line FROM jobs WHERE batch = ? AND batch_line > ? ORDER BY batch_line "
      "LIMIT "
      "?");
  if (!select) return select.error();
  select->bind(batch)
      .bind(static_cast<std::int64_t>(behind))
      .bind(static_cast<std::int64_t>(rows_max));
  std::vector<Found> lines;
  while (true) {
    const Result<bool> row = select->step();
    if (!row) return row.error();
    if (!*row) return lines;
    lines.push_back({{static_cast<std::uint64_t>(select->number(0))},
                     static_cast<std::uint64_t>(select->number(1))});
  }
}

// A row that is damaged is a line that has failed; its result is not used.
BatchJobs::Row read_row(Database& database, const Found& found) {
  BatchJobs::Row row{.line = found.line, .job = storage::to_text(found.job)};
  const auto job = storage::find_job(database, found.job);
  if (!job || !*job) {
    row.state = domain::JobState::Failed;
    if (!job) row.code = job.error().code, row.message = job.error().message;
    return row;
  }
  const storage::JobView& view = **job;
  row.state = view.state;
  row.status = view.status;
  row.body = view.result;
  row.code = view.code;
  row.message = view.reason;
  row.prompt_tokens = view.work.prompt_tokens;
  row.cached_tokens = view.work.cached_tokens;
  row.completion_tokens = view.work.completion_tokens;
  return row;
}

}  // namespace

std::size_t LineJobs::room() const {
  const control::JobCounts counts = parts_.jobs.counts();
  const std::size_t open = counts.queued + counts.running;
  return parts_.queued_max - std::min(parts_.queued_max, open);
}

void LineJobs::add(std::int64_t batch, Time expires, std::vector<Line> lines, Done<void> done) {
  std::vector<Submission> submissions;
  submissions.reserve(lines.size());
  for (Line& line : lines) {
    Submission one{.request = std::move(line.request), .options = {}};
    one.options.urgency = domain::JobUrgency::Batch;
    one.options.terms.ttl = expires - parts_.now();
    one.options.batch = batch;
    one.options.batch_line = static_cast<std::int64_t>(line.line);
    one.options.request_id = fmt::format("batch_req_{:x}_{}", batch, line.line);
    submissions.push_back(std::move(one));
  }
  parts_.jobs.submit_all(
      std::move(submissions), {},
      [this, batch, done = std::move(done)](Result<std::vector<domain::JobId>> jobs) {
        if (!jobs) return done(jobs.error());
        for (const domain::JobId job : *jobs) batch_of_[job.value] = batch;
        done({});
      });
}

void LineJobs::cancel(std::int64_t batch) {
  std::vector<domain::JobId> open;
  for (const auto& [job, of] : batch_of_)
    if (of == batch) open.push_back({job});
  for (const domain::JobId job : open)
    parts_.jobs.cancel(job, [](const Result<storage::JobView>&) {});
}

void LineJobs::count(std::int64_t batch, Done<Counts> done) {
  parts_.reader.ask([batch](Database& database) { return count_jobs(database, batch); },
                    [this, batch, done = std::move(done)](Result<Counted> found) {
                      if (!found) return done(found.error());
                      for (const std::uint64_t job : found->open) batch_of_[job] = batch;
                      done(found->counts);
                    });
}

void LineJobs::read(std::int64_t batch, std::uint64_t line, std::size_t rows_max,
                    Done<std::vector<Row>> done) {
  parts_.reader.ask(
      [batch, line, rows_max](Database& database) -> Result<std::vector<Row>> {
        const auto lines = find_lines(database, batch, line, rows_max);
        if (!lines) return lines.error();
        std::vector<Row> rows;
        std::size_t bytes = 0;
        for (const Found& found : *lines) {
          if (bytes >= kPageBytes) break;
          rows.push_back(read_row(database, found));
          bytes += rows.back().body.size();
        }
        return rows;
      },
      std::move(done));
}

void LineJobs::job_ended(const storage::JobEnd& end) {
  const auto node = batch_of_.extract(end.job.value);
  if (!node.empty() && ended) ended(node.mapped(), end.state);
}

}  // namespace glowplug::queue
