// Metering of the live server: the usage log in the data folder, folded into the state file a
// moment after a call has ended, and the ledger that the edge asks.
//
// A power cut may lose kFoldPause of receipts, a kill -9 none.
//
// Thread: the server loop, which does not run any more once this is gone. The writer outlives it.
#pragma once

#include <memory>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "base/clock.h"
#include "metering/usage_ledger.h"
#include "storage/read_loop.h"
#include "storage/write_loop.h"

namespace glowplug::app {

inline constexpr Duration kFoldPause = std::chrono::milliseconds(100);

class LiveUsage final {
 public:
  struct Parts {
    boost::asio::io_context& loop;
    const Clock& clock;
    metering::Meter& meter;
    storage::WriteLoop& writer;
    std::string folder;  // of the usage log
  };
  // Takes in what an earlier server has left.
  static Result<std::unique_ptr<LiveUsage>> open(const Parts& parts);

  metering::UsageLedger& ledger() { return *ledger_; }

 private:
  explicit LiveUsage(boost::asio::io_context& loop) : timer_(loop) {}
  void fold_soon();

  boost::asio::steady_timer timer_;
  std::unique_ptr<storage::ReadLoop> reader_;
  std::unique_ptr<metering::UsageLog> log_;
  std::unique_ptr<metering::UsageLedger> ledger_;
};

}  // namespace glowplug::app
