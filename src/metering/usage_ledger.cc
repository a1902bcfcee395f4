#include "metering/usage_ledger.h"

#include <memory>
#include <utility>

#include "base/utc_day.h"
#include "domain/limits.h"

namespace glowplug::metering {

UsageLedger::UsageLedger(Parts parts)
    : parts_(std::move(parts)), budgets_(parts_.warn), since_(parts_.clock.wall_now()) {}

Result<void> UsageLedger::recover(const std::function<Result<void>(UsageLog::Work)>& run) {
  // What cannot be folded now stays in its segments, and is tried again with the next that is.
  if (auto folded = parts_.log.recover(run); !folded)
    parts_.warn("usage that an earlier server left is not in the ledger yet: " +
                folded.error().message);
  const WallTime now = parts_.clock.wall_now();
  std::vector<storage::UsageSum> today;
  const std::string day = utc_day(now);
  const auto read = run([&today, &day](storage::Database& database) -> Result<void> {
    auto sums = storage::sum_usage(database, {.by_function = true, .from = day, .to = day});
    if (!sums) return sums.error();
    today = std::move(*sums);
    return {};
  });
  if (!read) return read;
  for (const storage::UsageSum& sum : today) budgets_.restore(sum.function, {sum.cost_micros}, now);
  return {};
}

Result<void> UsageLedger::may_call(const domain::Manifest& manifest) {
  return budgets_.may_call(manifest, parts_.clock.wall_now());
}

void UsageLedger::granted(const Granted& granted) {
  parts_.meter.claim(granted.request, granted.call);
  const auto [open, is_first] = open_.try_emplace(granted.request);
  open->second = {.book = granted.book,
                  .per_day = granted.manifest.scale.budget.per_day,
                  .function = granted.manifest.name,
                  .revision = granted.revision,
                  .cold = granted.cold,
                  .waited = granted.waited};
  if (!is_first || granted.book == Book::Job) return;
  parts_.log.begin({.request = granted.request,
                    .function = granted.manifest.name,
                    .revision = granted.revision,
                    .at = parts_.clock.wall_now()});
}

domain::Money UsageLedger::cost_so_far(const std::string& request) {
  return parts_.meter.cost_so_far(request, parts_.clock.now());
}

std::optional<domain::Receipt> UsageLedger::close(const CallEnd& end) {
  const auto open = open_.extract(end.request);
  if (!open) return std::nullopt;
  const WallTime wall = parts_.clock.wall_now();
  domain::Receipt receipt = parts_.meter.close(
      {.request = end.request, .function = open.mapped().function, .payer = end.payer},
      parts_.clock.now(), wall);
  receipt.revision = open.mapped().revision;
  receipt.cold = open.mapped().cold;
  receipt.terminal = end.terminal;
  receipt.status = end.status;
  receipt.phases = end.phases[domain::Phase::Prefill] ? end.phases : open.mapped().waited;
  receipt.prompt_tokens = end.prompt_tokens;
  receipt.cached_tokens = end.cached_tokens;
  receipt.completion_tokens = end.completion_tokens;
  if (open.mapped().book == Book::UsageLog) parts_.log.close(storage::usage_row(receipt));
  budgets_.add(receipt.function, receipt.cost, open.mapped().per_day, wall);
  count(receipt);
  return receipt;
}

void UsageLedger::count(const domain::Receipt& receipt) {
  if (totals_.size() >= domain::kFunctionsMax && !totals_.contains(receipt.function)) return;
  Totals& totals = totals_[receipt.function];
  totals.cost_micros += receipt.cost.micros;
  totals.platform_micros += receipt.platform.micros;
  ++totals.rows;
}

// Not what is in the log alone: a database that cannot be written is still read, and what is told
// then is what it holds.
template <typename Value, typename Ask>
void UsageLedger::read_folded(Ask ask, std::function<void(Result<Value>)> done) {
  parts_.log.when_folded([this, ask = std::move(ask), done = std::move(done)](const Result<void>&) {
    const auto found = std::make_shared<std::optional<Value>>();  // owners: both lambdas
    parts_.read(
        [found, ask](storage::Database& database) -> Result<void> {
          Result<Value> read = ask(database);
          if (!read) return read.error();
          found->emplace(std::move(*read));
          return {};
        },
        [found, done](const Result<void>& outcome) {
          if (outcome)
            done(std::move(**found));
          else
            done(outcome.error());
        });
  });
}

void UsageLedger::sums(storage::UsageQuery query, SumsDone done) {
  read_folded<std::vector<storage::UsageSum>>(
      [query = std::move(query)](storage::Database& database) {
        return storage::sum_usage(database, query);
      },
      std::move(done));
}

void UsageLedger::find(std::string request, FoundDone done) {
  read_folded<std::optional<storage::UsageRow>>(
      [request = std::move(request)](storage::Database& database) {
        return storage::find_usage(database, request);
      },
      std::move(done));
}

}  // namespace glowplug::metering
