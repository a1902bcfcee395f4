// Metering as the rest of the server sees it: a call's account is opened when a replica takes it,
// closed with a receipt when it ends, and asked for afterwards.
//
//   granted ──▶ intent in the usage log ──▶ … ──▶ close ──▶ receipt: log, budgets, counts
//                                                   └──▶ sums, find: once it is folded, from the
//                                                        database
//
// A call that no replica took has no account: it has cost nothing, and is counted by the gateway. A
// job's account has no intent and no line in the log: who runs jobs writes its row together with
// the job's end (storage::insert_usage).
//
// Thread: the server loop; callbacks too.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "domain/receipt.h"
#include "metering/budget_book.h"
#include "metering/meter.h"
#include "metering/usage_log.h"
#include "storage/usage_store.h"

namespace glowplug::metering {

enum class Book { UsageLog, Job };  // where the row of a call goes

// How a call ended, as whoever relayed its answer knows it.
struct CallEnd {
  const std::string& request;
  std::string_view terminal;  // of domain::call_end
  int status = 0;
  domain::PhaseTimes phases;  // none where its answer never began: then those before its replica
  std::uint64_t prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0;
  policy::Payer payer = policy::Payer::Caller;
};

class UsageLedger final {
 public:
  struct Parts {
    const Clock& clock;
    Meter& meter;
    UsageLog& log;
    // Reads on a connection of its own; `done` on the server loop. As storage::ReadLoop.
    std::function<void(UsageLog::Work work, std::function<void(const Result<void>&)> done)> read;
    std::function<void(const std::string& line)> warn;
  };
  explicit UsageLedger(Parts parts);

  // At the start, in one transaction: what was left behind, then what today has cost.
  Result<void> recover(const std::function<Result<void>(UsageLog::Work)>& run);

  // Errors: insufficient_quota.
  Result<void> may_call(const domain::Manifest& manifest);

  struct Granted {
    const std::string& request;
    const domain::Manifest& manifest;
    int revision = 0;
    domain::CallId call;
    bool cold = false;
    domain::PhaseTimes waited;  // before it
    Book book = Book::UsageLog;
  };
  void granted(const Granted& granted);
  // What it will owe if its caller gets all of it; its time on devices is over.
  domain::Money cost_so_far(const std::string& request);
  // None where no replica has had it.
  std::optional<domain::Receipt> close(const CallEnd& end);

  using SumsDone = std::function<void(Result<std::vector<storage::UsageSum>>)>;
  void sums(storage::UsageQuery query, SumsDone done);
  using FoundDone = std::function<void(Result<std::optional<storage::UsageRow>>)>;
  void find(std::string request, FoundDone done);

  std::vector<DeviceLedger> devices() const { return parts_.meter.devices(parts_.clock.now()); }
  BudgetBook& budgets() { return budgets_; }
  UsageLogCounts log_counts() const { return parts_.log.counts(); }
  WallTime since() const { return since_; }
  struct Totals {
    std::int64_t cost_micros = 0, platform_micros = 0;
    std::uint64_t rows = 0;
  };
  // Since this server began, by function.
  const std::map<std::string, Totals>& totals() const { return totals_; }

 private:
  struct Open {
    Book book = Book::UsageLog;
    domain::Money per_day;
    std::string function;
    int revision = 0;  // of the latest replica, as what follows
    bool cold = false;
    domain::PhaseTimes waited;
  };
  void count(const domain::Receipt& receipt);
  template <typename Value, typename Ask>
  void read_folded(Ask ask, std::function<void(Result<Value>)> done);

  Parts parts_;
  BudgetBook budgets_;
  WallTime since_;
  std::unordered_map<std::string, Open> open_;  // by request
  std::map<std::string, Totals> totals_;
};

}  // namespace glowplug::metering
