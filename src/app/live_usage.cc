#include "app/live_usage.h"

#include <utility>

#include <spdlog/spdlog.h>

#include "app/on_loop.h"

namespace glowplug::app {

Result<std::unique_ptr<LiveUsage>> LiveUsage::open(const Parts& parts) {
  std::unique_ptr<LiveUsage> usage(new LiveUsage(parts.loop));
  storage::WriteLoop& writer = parts.writer;
  auto reader = storage::ReadLoop::open(writer.path(), on_loop(parts.loop));
  if (!reader) return reader.error();
  usage->reader_ = std::move(*reader);
  auto log = metering::UsageLog::open(
      {.folder = parts.folder,
       .write =
           [&writer](metering::UsageLog::Work work, auto done) {
             writer.post(std::move(work), std::move(done), storage::Need::Must);
           },
       // Owner of the lambda: log_, a member of what it calls.
       .wants_fold = [usage = usage.get()] { usage->fold_soon(); }});
  if (!log) return log.error();
  usage->log_ = std::move(*log);
  usage->ledger_ = std::make_unique<metering::UsageLedger>(metering::UsageLedger::Parts{
      .clock = parts.clock,
      .meter = parts.meter,
      .log = *usage->log_,
      .read = [reader = usage->reader_.get()](
                  metering::UsageLog::Work work,
                  auto done) { reader->post(std::move(work), std::move(done)); },
      .warn = [](const std::string& line) { spdlog::warn("{}", line); }});
  const auto recovered = usage->ledger_->recover(
      [&writer](metering::UsageLog::Work work) { return writer.run(std::move(work)); });
  if (!recovered) return recovered.error();
  return usage;
}

void LiveUsage::fold_soon() {
  timer_.expires_after(kFoldPause);
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) log_->fold();
  });
}

}  // namespace glowplug::app
