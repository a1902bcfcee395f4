// The end of a batch: its output and error files, from the rows of its jobs.
#include <utility>

#include <fmt/format.h>

#include "queue/batch_rows.h"
#include "queue/batch_state.h"

namespace glowplug::queue {
namespace {

constexpr std::size_t kRowsPerPage = 256;

FileWish wish_of(const BatchRecord& record, std::string_view what) {
  return {.name = fmt::format("{}_{}.jsonl", batch_id(record.id), what),
          .purpose = "batch_output",
          .expires_after = record.output_expires.value_or(domain::kFileExpiryMax)};
}

BatchResults::Unrun unrun_of(const BatchRecord& record) {
  if (record.state == BatchState::Cancelling) return BatchResults::Unrun::Cancelled;
  return record.expired ? BatchResults::Unrun::Expired : BatchResults::Unrun::Lost;
}

}  // namespace

// A batch that was cancelled before its lines were known has none that could be listed.
void BatchService::begin_files(Batch& batch) {
  if (batch.record.total == 0) return conclude(batch, std::nullopt, std::nullopt);
  start_step(batch);
  const std::int64_t id = batch.record.id;
  parts_.files.begin(FileOrigin::Made, [this, id](Result<FileStore::Draft> output) {
    if (!output) return end_step(id, output.error());
    parts_.files.begin(
        FileOrigin::Made, [this, id, output = *output](Result<FileStore::Draft> errors) {
          Batch* found = find_batch(id);
          if (found == nullptr) return;
          if (!errors) return end_step(id, errors.error());
          Result<BatchReader> input = BatchReader::open(*found->input, found->record.endpoint);
          if (!input) return end_step(id, input.error());
          found->results = std::make_shared<BatchResults>(
              BatchResults::Parts{id, std::move(*input), output, *errors, unrun_of(found->record)});
          write_page(*found, 0);
        });
  });
}

void BatchService::write_page(Batch& batch, std::uint64_t behind) {
  const std::int64_t id = batch.record.id;
  parts_.jobs.read(id, behind, kRowsPerPage, [this, id](Result<std::vector<BatchJobs::Row>> page) {
    Batch* found = find_batch(id);
    if (found == nullptr) return;
    if (!page) return end_step(id, page.error());
    // Owners: the work and its end.
    auto rows = std::make_shared<const std::vector<BatchJobs::Row>>(std::move(*page));
    auto result = std::make_shared<Result<void>>();
    parts_.disk.post([results = found->results, rows, result] { *result = results->take(*rows); },
                     [this, id, rows, result] {
                       Batch* again = find_batch(id);
                       if (again == nullptr) return;
                       if (!*result) return end_step(id, *result);
                       if (!rows->empty()) return write_page(*again, rows->back().line);
                       seal_files(*again);
                     });
  });
}

void BatchService::seal_files(Batch& batch) {
  using Sealed = Result<std::optional<FileRecord>>;
  const std::int64_t id = batch.record.id;
  const auto seal = [this, id](const FileStore::Draft& draft, std::uint64_t lines,
                               std::string_view what, std::function<void(Sealed)> then) {
    const Batch* found = find_batch(id);
    if (found == nullptr) return;
    if (lines == 0) return then(std::optional<FileRecord>());
    parts_.files.seal(draft, wish_of(found->record, what),
                      [then = std::move(then)](Result<FileRecord> sealed) {
                        then(sealed ? Sealed(std::optional(*sealed)) : Sealed(sealed.error()));
                      });
  };
  const auto results = batch.results;
  seal(results->output(), results->done(), "output", [this, id, seal, results](Sealed output) {
    if (!output) return end_step(id, output.error());
    seal(results->errors(), results->failed(), "error", [this, id, output](Sealed errors) {
      Batch* found = find_batch(id);
      if (errors && found != nullptr) return conclude(*found, *output, *errors);
      if (*output) parts_.files.drop(**output);
      if (!errors) end_step(id, errors.error());
    });
  });
}

// Files and state are on the disk together, or not at all.
void BatchService::conclude(Batch& batch, std::optional<FileRecord> output,
                            std::optional<FileRecord> errors) {
  start_step(batch);
  BatchRecord next = batch.record;
  next.state = next.state == BatchState::Cancelling ? BatchState::Cancelled
               : next.expired                       ? BatchState::Expired
                                                    : BatchState::Completed;
  next.at[static_cast<std::size_t>(next.state)] = parts_.clock.wall_now();
  if (output) next.output_file = output->id;
  if (errors) next.error_file = errors->id;
  if (const auto results = std::exchange(batch.results, nullptr)) {
    next.done = results->done();
    next.failed = results->failed();
    next.usage = results->usage();
  }
  parts_.writes.post(
      [next, output, errors, on_end = parts_.on_end](storage::Database& database) -> Result<void> {
        for (const auto* file : {&output, &errors}) {
          if (!*file) continue;
          if (auto inserted = FileStore::insert(database, **file); !inserted) return inserted;
        }
        const Result<void> updated = update_batch(database, next);
        return updated && on_end ? on_end(database, next) : updated;
      },
      [this, next, output, errors](const Result<void>& written) {
        for (const auto* file : {&output, &errors})
          if (*file) written ? parts_.files.adopt(**file) : parts_.files.drop(**file);
        Batch* found = find_batch(next.id);
        if (found == nullptr) return;
        if (written) {
          found->record = next;
          tell_end(*found);
        }
        end_step(next.id, written);
      },
      storage::Need::Must);
}

}  // namespace glowplug::queue
