#include "app/live_batches.h"

#include <chrono>
#include <utility>

#include "app/on_loop.h"

namespace glowplug::app {
namespace {

constexpr Duration kTickEvery = std::chrono::seconds(1);

}  // namespace

LiveBatches::LiveBatches(Parts parts)
    : parts_(std::move(parts)),
      disk_(on_loop(parts_.loop)),
      lines_({.jobs = parts_.jobs, .reader = parts_.reader, .now = parts_.queue_now}),
      timer_(parts_.loop) {}

Result<std::unique_ptr<LiveBatches>> LiveBatches::open(Parts parts) {
  std::unique_ptr<LiveBatches> live(new LiveBatches(std::move(parts)));
  auto files = queue::FileStore::open({.folder = live->parts_.data_dir + "/files",
                                       .writes = live->parts_.writes,
                                       .disk = live->disk_,
                                       .clock = live->parts_.clock,
                                       .bytes_max = live->parts_.files_budget});
  if (!files) return files.error();
  live->files_ = std::move(*files);
  auto batches = queue::BatchService::open({.files = *live->files_,
                                            .writes = live->parts_.writes,
                                            .disk = live->disk_,
                                            .jobs = live->lines_,
                                            .clock = live->parts_.clock,
                                            .queue_now = live->parts_.queue_now,
                                            .model_exists = live->parts_.model_exists,
                                            .on_end = live->parts_.on_end,
                                            .ended = live->parts_.ended,
                                            .lines_max = live->parts_.batch_lines});
  if (!batches) return batches.error();
  live->batches_ = std::move(*batches);
  // Owner: the service, which this object outlives.
  live->lines_.ended = [service = live->batches_.get()](std::int64_t batch,
                                                        domain::JobState state) {
    service->line_ended(batch, state);
  };
  live->tick();
  return live;
}

void LiveBatches::tick() {
  files_->sweep();
  batches_->tick(parts_.queue_now());
  timer_.expires_after(kTickEvery);
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) tick();
  });
}

}  // namespace glowplug::app
