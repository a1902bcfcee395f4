#include "queue/batch_service.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "domain/errors.h"
#include "queue/batch_rows.h"
#include "queue/batch_state.h"

namespace glowplug::queue {
namespace {

namespace error = domain::error;
using namespace std::chrono_literals;

constexpr Duration kRetryAfter = 5s;
constexpr Duration kRecountEvery = 30s;  // an end that was not heard of must not hold up a batch
constexpr std::size_t kLinesPerStep = 256;
constexpr std::size_t kBytesPerStep = 4 * 1024 * 1024;

Error bad_input(const std::string& what) {
  return {std::string(error::kInvalidValue), what, "input_file_id"};
}

struct Reading {
  std::shared_ptr<BatchReader> reader;
  Result<BatchReader::Piece> piece = BatchReader::Piece{};
};

struct ReadOrder {
  std::string path, endpoint;
  std::uint64_t behind = 0;  // where the reader has to be opened first
  std::size_t lines_max = kLinesPerStep;
};

// On the disk thread.
void read_piece(Reading& reading, const ReadOrder& order) {
  if (!reading.reader) {
    Result<BatchReader> opened = BatchReader::open(order.path, order.endpoint);
    if (!opened) {
      reading.piece = opened.error();
      return;
    }
    reading.reader = std::make_shared<BatchReader>(std::move(*opened));
    if (auto skipped = reading.reader->skip(order.behind); !skipped) {
      reading.reader.reset();
      reading.piece = skipped.error();
      return;
    }
  }
  reading.piece = reading.reader->next(order.lines_max, kBytesPerStep);
}

}  // namespace

BatchService::BatchService(Parts parts) : parts_(std::move(parts)) {}
BatchService::~BatchService() = default;

Result<std::unique_ptr<BatchService>> BatchService::open(Parts parts) {
  std::unique_ptr<BatchService> service(new BatchService(std::move(parts)));
  if (auto loaded = service->load(); !loaded) return loaded.error();
  return service;
}

Result<void> BatchService::load() {
  std::vector<BatchRecord> records;
  auto read = parts_.writes.run([&records](storage::Database& database) -> Result<void> {
    Result<std::vector<BatchRecord>> found = read_batches(database);
    if (!found) return found.error();
    records = std::move(*found);
    return {};
  });
  if (!read) return read;
  now_ = parts_.queue_now();
  for (BatchRecord& record : records) restore(std::move(record));
  return {};
}

void BatchService::restore(BatchRecord record) {
  const std::int64_t id = record.id;
  next_id_ = std::max(next_id_, id + 1);
  auto batch = std::make_unique<Batch>();
  batch->record = std::move(record);
  Batch& kept = *(batches_[id] = std::move(batch));
  if (is_terminal(kept.record.state)) return;
  if (const std::optional<FileRecord> input = parts_.files.find_any(kept.record.input_file))
    kept.input = parts_.files.hold(*input);
  if (!kept.input)
    return fail(kept,
                {{0, std::string(error::kNotFound), "The input file is gone.", "input_file_id"}});
  advance(kept);
}

void BatchService::create(BatchWish wish, Record done) {
  const std::optional<FileRecord> input = parts_.files.find(wish.input_file);
  if (!input)
    return done(bad_input(fmt::format("There is no file `{}`.", wish.input_file.substr(0, 80))));
  if (input->purpose != "batch")
    return done(bad_input(fmt::format("The file `{}` has the purpose {}; upload it with batch.",
                                      input->id, input->purpose)));
  const auto active = std::count_if(batches_.begin(), batches_.end(), [](const auto& one) {
    return !is_terminal(one.second->record.state);
  });
  if (static_cast<std::size_t>(active) >= domain::kBatchesMax)
    return done(Error{std::string(error::kQueueFull),
                      fmt::format("{} batches are under way.", active), ""});
  auto batch = std::make_shared<std::unique_ptr<Batch>>(std::make_unique<Batch>());
  BatchRecord& record = (*batch)->record;
  record.id = next_id_++;
  record.endpoint = std::move(wish.endpoint);
  record.input_file = std::move(wish.input_file);
  record.metadata = std::move(wish.metadata);
  record.output_expires = wish.output_expires;
  record.traceparent = std::move(wish.traceparent);
  record.created = parts_.clock.wall_now();
  record.expires = parts_.queue_now() + domain::kBatchWindow;
  (*batch)->input = parts_.files.hold(*input);
  (*batch)->counted = true;  // it has no jobs
  parts_.writes.post(
      [record, with = std::move(wish.with), now = parts_.queue_now()](storage::Database& database) {
        const Result<void> inserted = insert_batch(database, record);
        return inserted && with ? with(database, record, now) : inserted;
      },
      [this, batch, done = std::move(done)](const Result<void>& written) {
        if (!written) return done(written.error());
        const std::int64_t id = (*batch)->record.id;
        Batch& kept = *(batches_[id] = std::move(*batch));
        prune();
        done(shown(kept));
        advance(kept);
      },
      storage::Need::May);
}

// What is over and oldest goes first; its files stay.
void BatchService::prune() {
  auto next = batches_.begin();
  while (batches_.size() > domain::kBatchesMax && next != batches_.end()) {
    const auto at = next++;
    if (!is_terminal(at->second->record.state) || at->second->busy) continue;
    const std::int64_t id = at->first;
    batches_.erase(at);
    parts_.writes.post([id](storage::Database& database) { return delete_batch(database, id); },
                       [](const Result<void>&) {}, storage::Need::Must);
  }
}

BatchRecord BatchService::shown(const Batch& batch) const { return batch.record; }

BatchService::Batch* BatchService::find_batch(std::int64_t id) {
  const auto found = batches_.find(id);
  return found == batches_.end() ? nullptr : found->second.get();
}

std::optional<BatchRecord> BatchService::find(std::int64_t id) const {
  const auto found = batches_.find(id);
  if (found == batches_.end()) return std::nullopt;
  return shown(*found->second);
}

std::vector<BatchRecord> BatchService::list() const {
  std::vector<BatchRecord> all;
  all.reserve(batches_.size());
  for (auto at = batches_.rbegin(); at != batches_.rend(); ++at) all.push_back(shown(*at->second));
  return all;
}

std::array<std::size_t, kBatchStateNames.size()> BatchService::count_states() const {
  std::array<std::size_t, kBatchStateNames.size()> counts{};
  for (const auto& [id, batch] : batches_) ++counts[static_cast<std::size_t>(batch->record.state)];
  return counts;
}

void BatchService::cancel(std::int64_t id, Record done) {
  Batch* batch = find_batch(id);
  if (batch == nullptr)
    return done(Error{std::string(error::kNotFound),
                      fmt::format("There is no batch `{}`.", batch_id(id)), "id"});
  batch->cancel_wanted = true;
  batch->waiters.push_back(std::move(done));
  advance(*batch);
}

// Those who asked for a cancel hear of it once it is on the disk, or comes too late.
void BatchService::settle_waiters(Batch& batch) {
  const BatchState state = batch.record.state;
  if (state == BatchState::Validating || state == BatchState::InProgress) return;
  std::vector<Record> waiters = std::move(batch.waiters);
  batch.waiters.clear();
  for (const Record& done : waiters) done(shown(batch));
}

void BatchService::line_ended(std::int64_t id, domain::JobState state) {
  Batch* batch = find_batch(id);
  if (batch == nullptr || is_terminal(batch->record.state)) return;
  ++batch->over;
  if (state == domain::JobState::Completed) ++batch->record.done;
  if (state == domain::JobState::Failed) ++batch->record.failed;
  advance(*batch);
}

void BatchService::tick(Time now) {
  now_ = now;
  for (const auto& [id, batch] : batches_) {
    if (is_terminal(batch->record.state)) continue;
    if (!batch->recount_at) batch->recount_at = now + kRecountEvery;
    if (!batch->busy && batch->counted && now >= *batch->recount_at) {
      batch->recount_at = now + kRecountEvery;
      if (batch->over < batch->jobs) count(*batch);
    }
    advance(*batch);
  }
}

void BatchService::advance(Batch& batch) {
  settle_waiters(batch);
  if (batch.busy || is_terminal(batch.record.state)) return;
  if (batch.retry_at && now_ < *batch.retry_at) return;
  batch.retry_at.reset();
  if (!batch.counted && batch.record.state != BatchState::Validating) return count(batch);
  switch (batch.record.state) {
    case BatchState::Validating:
      if (batch.cancel_wanted) break;
      return check_input(batch);
    case BatchState::InProgress:
      if (batch.cancel_wanted) break;
      return advance_run(batch);
    case BatchState::Cancelling:
      if (!batch.cancel_sent && !batch.drained()) {
        batch.cancel_sent = true;
        parts_.jobs.cancel(batch.record.id);
      }
      if (batch.drained()) begin_files(batch);
      return;
    case BatchState::Finalizing: return begin_files(batch);
    default: return;
  }
  BatchRecord next = batch.record;
  next.state = BatchState::Cancelling;
  batch.waiting.clear();
  move_to(batch, std::move(next));
}

void BatchService::advance_run(Batch& batch) {
  const bool late = parts_.queue_now() >= batch.record.expires;
  if (late) batch.waiting.clear();
  if ((batch.read_to_end || late) && batch.drained()) {
    BatchRecord next = batch.record;
    next.state = BatchState::Finalizing;
    next.expired = late && next.done + next.failed < next.total;
    return move_to(batch, std::move(next));
  }
  if (late) return;
  if (!batch.waiting.empty()) {
    if (parts_.jobs.room() >= batch.waiting.size()) add_lines(batch);
    return;
  }
  const std::uint64_t queued = batch.jobs - std::min(batch.over, batch.jobs);
  if (!batch.read_to_end && queued + kLinesPerStep <= parts_.lines_queued &&
      parts_.jobs.room() >= kLinesPerStep)
    feed(batch);
}

void BatchService::start_step(Batch& batch) { batch.busy = true; }

void BatchService::end_step(std::int64_t id, const Result<void>& result) {
  Batch* batch = find_batch(id);
  if (batch == nullptr) return;
  batch->busy = false;
  if (!result) {
    spdlog::warn("batch={} {} waits: {}", batch_id(id), to_string(batch->record.state),
                 result.error().message);
    batch->retry_at = now_ + kRetryAfter;
  }
  advance(*batch);
}

void BatchService::check_input(Batch& batch) {
  start_step(batch);
  if (!batch.check)
    batch.check = std::make_unique<BatchCheck>(BatchCheck::Options{
        .lines_max = parts_.lines_max,
        .faults_listed = domain::kBatchFaultsListed,
        .inputs_max = batch.record.endpoint == "/v1/embeddings"
                          ? std::max(domain::kBatchEmbeddingInputsMax, parts_.lines_max)
                          : SIZE_MAX});
  auto reading = std::make_shared<Reading>();  // owners: the work and its end
  reading->reader = batch.reader;
  parts_.disk.post([reading, order = ReadOrder{*batch.input, batch.record.endpoint, 0,
                                               SIZE_MAX}] { read_piece(*reading, order); },
                   [this, id = batch.record.id, reading] {
                     Batch* found = find_batch(id);
                     if (found == nullptr) return;
                     found->reader = reading->reader;
                     if (reading->piece) return take_checked(*found, *reading->piece);
                     found->check.reset();  // from the beginning
                     found->reader.reset();
                     end_step(id, reading->piece.error());
                   });
}

void BatchService::take_checked(Batch& batch, const BatchReader::Piece& piece) {
  const std::int64_t id = batch.record.id;
  batch.check->add(piece, parts_.model_exists);
  if (!piece.end && !batch.check->hopeless()) return end_step(id, {});
  batch.check->end();
  const std::unique_ptr<BatchCheck> check = std::move(batch.check);
  batch.reader.reset();
  batch.busy = false;
  if (batch.cancel_wanted) return advance(batch);
  if (!check->ok()) return fail(batch, check->faults());
  BatchRecord next = batch.record;
  next.state = BatchState::InProgress;
  next.total = check->lines();
  move_to(batch, std::move(next));
}

void BatchService::feed(Batch& batch) {
  start_step(batch);
  auto reading = std::make_shared<Reading>();  // owners: the work and its end
  reading->reader = batch.reader;
  parts_.disk.post(
      [reading, order = ReadOrder{*batch.input, batch.record.endpoint, batch.last_line,
                                  kLinesPerStep}] { read_piece(*reading, order); },
      [this, id = batch.record.id, reading] {
        Batch* found = find_batch(id);
        if (found == nullptr) return;
        found->reader = reading->reader;
        if (!reading->piece) {
          found->reader.reset();
          return end_step(id, reading->piece.error());
        }
        found->read_to_end = reading->piece->end;
        for (BatchLine& line : reading->piece->lines)
          found->waiting.push_back(
              {line.line,
               {std::move(line.model), found->record.endpoint, std::move(line.body), {}}});
        if (found->read_to_end) found->reader.reset();
        end_step(id, {});
      });
}

void BatchService::add_lines(Batch& batch) {
  start_step(batch);
  parts_.jobs.add(batch.record.id, batch.record.expires, batch.waiting,
                  [this, id = batch.record.id](Result<void> added) {
                    Batch* found = find_batch(id);
                    if (found == nullptr) return;
                    if (added && !found->waiting.empty()) {
                      found->jobs += found->waiting.size();
                      found->last_line = found->waiting.back().line;
                    }
                    found->waiting.clear();
                    if (!added) {  // what is there is counted, and read on from
                      found->counted = found->read_to_end = false;
                      found->reader.reset();
                    }
                    end_step(id, added);
                  });
}

void BatchService::count(Batch& batch) {
  start_step(batch);
  parts_.jobs.count(batch.record.id,
                    [this, id = batch.record.id](Result<BatchJobs::Counts> counts) {
                      Batch* found = find_batch(id);
                      if (found == nullptr) return;
                      if (!counts) return end_step(id, counts.error());
                      // Ends that came while it was counted may be missing there, and are known
                      // here.
                      found->counted = true;
                      found->jobs = std::max(found->jobs, counts->jobs);
                      found->over = std::max(found->over, counts->over);
                      found->last_line = std::max(found->last_line, counts->last_line);
                      found->record.done = std::max(found->record.done, counts->completed);
                      found->record.failed = std::max(found->record.failed, counts->failed);
                      end_step(id, {});
                    });
}

// It is so once it is on the disk.
void BatchService::move_to(Batch& batch, BatchRecord next) {
  start_step(batch);
  next.at[static_cast<std::size_t>(next.state)] = parts_.clock.wall_now();
  parts_.writes.post(
      [next, on_end = parts_.on_end](storage::Database& database) -> Result<void> {
        const Result<void> updated = update_batch(database, next);
        if (!updated || !on_end || !is_terminal(next.state)) return updated;
        return on_end(database, next);
      },
      [this, next](const Result<void>& written) {
        Batch* found = find_batch(next.id);
        if (found == nullptr) return;
        if (written) {
          const BatchRecord before = std::exchange(found->record, next);
          found->record.done = std::max(found->record.done, before.done);
          found->record.failed = std::max(found->record.failed, before.failed);
          if (is_terminal(next.state)) tell_end(*found);
        }
        end_step(next.id, written);
      },
      storage::Need::Must);
}

void BatchService::tell_end(Batch& batch) {
  batch.input.reset();
  ++ended_[batch.record.state];
  parts_.ended(batch.record);
}

void BatchService::fail(Batch& batch, std::vector<BatchFault> faults) {
  BatchRecord next = batch.record;
  next.state = BatchState::Failed;
  next.faults = std::move(faults);
  move_to(batch, std::move(next));
}

}  // namespace glowplug::queue
