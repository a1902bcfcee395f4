#include "app/live_jobs.h"

#include <algorithm>
#include <ctime>
#include <random>
#include <utility>

#include <boost/asio/post.hpp>
#include <spdlog/spdlog.h>

#include "app/on_loop.h"
#include "base/clock.h"
#include "base/read_file.h"

namespace glowplug::app {
namespace {

// More than there will ever be of one function; a product beyond is taken for it.
constexpr int kPlacesMax = 100'000;

// Somewhere in the lower half, so that the starts of this folder's servers have room to count up.
std::uint64_t draw_epoch() {
  std::random_device random;
  return std::uniform_int_distribution<std::uint64_t>(1, storage::kJobEpochMax / 2)(random);
}

std::optional<int> places_of(const control::Platform& platform, const std::string& function) {
  const auto callee = platform.callee(function);
  if (!callee) return std::nullopt;
  const domain::Manifest& manifest = callee->manifest;
  return std::clamp(manifest.slots * manifest.scale.max, 1, kPlacesMax);
}

}  // namespace

queue::ClockReading read_machine_clock() {
  static const std::string boot_id = read_text("/proc/sys/kernel/random/boot_id");
  timespec since_boot{};
  ::clock_gettime(CLOCK_BOOTTIME, &since_boot);
  return {
      .boot_id = boot_id,
      .boottime = std::chrono::duration_cast<std::chrono::milliseconds>(
          std::chrono::seconds(since_boot.tv_sec) + std::chrono::nanoseconds(since_boot.tv_nsec)),
      .wall = SystemClock().wall_now()};
}

Result<std::unique_ptr<LiveJobs>> LiveJobs::open(Parts parts) {
  std::unique_ptr<LiveJobs> jobs(new LiveJobs(parts.loop));
  auto reader = storage::ReadLoop::open(parts.writer.path(), on_loop(parts.loop));
  if (!reader) return reader.error();
  jobs->reader_ = std::move(*reader);
  const Result<void> opened =
      parts.writer.run([&jobs](storage::Database& database) -> Result<void> {
        Result<queue::QueueClock> clock =
            queue::QueueClock::open(database, read_machine_clock, draw_epoch());
        if (!clock) return clock.error();
        jobs->clock_ = std::make_shared<queue::QueueClock>(std::move(*clock));
        return {};
      });
  if (!opened) return opened.error();
  jobs->service_ = std::make_unique<queue::JobService>(queue::JobService::Parts{
      .writer = parts.writer,
      .reader = *jobs->reader_,
      .runner = parts.runner,
      .clock = *jobs->clock_,
      .places_of = [&platform = parts.platform](
                       const std::string& function) { return places_of(platform, function); },
      .wake_in = [owner = jobs.get()](Duration after) { owner->wake_in(after); },
      .seed = std::random_device{}(),
      .on_settle = std::move(parts.on_settle),
      .on_ended = std::move(parts.on_ended),
      .warn = [](const std::string& what) { spdlog::warn("{}", what); }});
  return jobs;
}

LiveJobs::~LiveJobs() = default;

void LiveJobs::wake_in(Duration after) {
  // A deadline may lie years ahead, which the timer's clock cannot count.
  timer_.expires_after(std::min<Duration>(after, std::chrono::hours(1)));
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) service_->tick();
  });
}

}  // namespace glowplug::app
