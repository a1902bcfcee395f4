#include "queue/queue_clock.h"

#include <algorithm>
#include <utility>

#include "storage/job_text.h"

namespace glowplug::queue {
namespace {

using std::chrono::milliseconds;

struct Anchor {
  ClockReading reading;
  milliseconds at{};
  std::uint64_t epoch = 0;
};

Result<std::optional<Anchor>> read_anchor(storage::Database& database) {
  auto statement = database.prepare(
      "SELECT boot_id, boottime_ms, wall_ms, queue_ms, epoch FROM queue_clock LIMIT 1");
  if (!statement) return statement.error();
  const Result<bool> row = statement->step();
  if (!row) return row.error();
  if (!*row) return std::optional<Anchor>();
  return std::optional(Anchor{.reading = {.boot_id = statement->text(0),
                                          .boottime = milliseconds(statement->number(1)),
                                          .wall = WallTime(milliseconds(statement->number(2)))},
                              .at = milliseconds(statement->number(3)),
                              .epoch = static_cast<std::uint64_t>(statement->number(4))});
}

Result<void> write_anchor(storage::Database& database, const Anchor& anchor) {
  if (const Result<void> cleared = database.execute("DELETE FROM queue_clock"); !cleared)
    return cleared.error();
  auto statement = database.prepare(
      "INSERT INTO queue_clock (boot_id, boottime_ms, wall_ms, queue_ms, epoch)"
      " VALUES (?, ?, ?, ?, ?)");
  if (!statement) return statement.error();
  return statement->bind(anchor.reading.boot_id)
      .bind(std::int64_t{anchor.reading.boottime.count()})
      .bind(std::int64_t{anchor.reading.wall.time_since_epoch().count()})
      .bind(std::int64_t{anchor.at.count()})
      .bind(static_cast<std::int64_t>(anchor.epoch))
      .finish();
}

milliseconds gone_since(const ClockReading& then, const ClockReading& now) {
  if (then.boot_id == now.boot_id) return std::max(milliseconds(0), now.boottime - then.boottime);
  return std::clamp(std::chrono::duration_cast<milliseconds>(now.wall - then.wall), milliseconds(0),
                    std::chrono::duration_cast<milliseconds>(kOffMax));
}

}  // namespace

QueueClock::QueueClock(ReadClock read, ClockReading anchor, Time at, std::uint64_t epoch)
    : read_(std::move(read)), anchor_(std::move(anchor)), anchor_at_(at), epoch_(epoch) {}

Result<QueueClock> QueueClock::open(storage::Database& database, ReadClock read,
                                    std::uint64_t first_epoch) {
  const auto stored = read_anchor(database);
  if (!stored) return stored.error();
  Anchor anchor{.reading = read(), .epoch = first_epoch};
  if (*stored) {
    anchor.at = (*stored)->at + gone_since((*stored)->reading, anchor.reading);
    anchor.epoch = (*stored)->epoch >= storage::kJobEpochMax ? 1 : (*stored)->epoch + 1;
  }
  if (const Result<void> written = write_anchor(database, anchor); !written) return written.error();
  return QueueClock(std::move(read), anchor.reading, Time(anchor.at), anchor.epoch);
}

Time QueueClock::now() const {
  return anchor_at_ + std::max(milliseconds(0), read_().boottime - anchor_.boottime);
}

std::function<Result<void>(storage::Database&)> QueueClock::save() const {
  Anchor anchor{.reading = read_(), .epoch = epoch_};
  anchor.at = std::chrono::duration_cast<milliseconds>(anchor_at_.time_since_epoch()) +
              gone_since(anchor_, anchor.reading);
  return [anchor](storage::Database& database) { return write_anchor(database, anchor); };
}

}  // namespace glowplug::queue
