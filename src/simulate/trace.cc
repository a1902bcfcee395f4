#include "simulate/trace.h"

#include <algorithm>
#include <queue>
#include <utility>

#include <fmt/format.h>

#include "base/units.h"
#include "domain/errors.h"
#include "domain/limits.h"
#include "simulate/trace_rows.h"

namespace glowplug::simulate {
namespace {

constexpr std::size_t kHeldRowsMax = 2'000'000;
constexpr std::size_t kNameBytesMax = 256;
constexpr std::string_view kKinds =
    "time_s,function,prompt_tokens,output_tokens (ours); TIMESTAMP,ContextTokens,GeneratedTokens "
    "(Azure LLM); app,func,end_timestamp,duration (Azure Functions 2021); "
    "HashOwner,HashApp,HashFunction,Trigger,1,2,… (Azure Functions 2019); "
    "client,ts_s,rate_rps,cv,pattern,p1,p2 (ServeGen); or Mooncake's objects, one a line";

Error bad_option(std::string_view name, const std::string& what) {
  return {std::string(domain::error::kInvalidValue), fmt::format("{} {}", name, what),
          std::string(name)};
}

// Puts rows in the order of time, as far as the window allows, and counts time from the first.
class OrderedSource final : public RequestSource {
 public:
  OrderedSource(std::unique_ptr<RowReader> rows, const TraceOptions& options)
      : rows_(std::move(rows)),
        options_(options),
        window_(options.sort.value_or(rows_->disorder())),
        random_(Random(options.seed).split(1)) {}

  Result<std::optional<Request>> next() override {
    while (true) {
      if (const Result<void> read = read_ahead(); !read) return read.error();
      if (held_.empty()) return std::optional<Request>{};
      Request request = held_.top().request;
      held_.pop();
      if (!beginning_) beginning_ = request.at;
      last_ = request.at;
      request.at -= *beginning_;
      if (request.at > options_.length) return over(request.at);
      if (options_.keep < 1 && !random_.chance(options_.keep)) continue;
      if (options_.requests_max > 0 && ++given_ > options_.requests_max)
        return std::optional<Request>{};
      return std::optional(request);
    }
  }
  const std::vector<std::string>& functions() const override { return rows_->functions(); }
  bool knows_all() const override { return ended_; }

 private:
  struct Held {
    Request request;
    std::uint64_t order = 0;
    bool operator>(const Held& other) const {
      return request.at != other.request.at ? request.at > other.request.at : order > other.order;
    }
  };

  Result<std::optional<Request>> over(Duration at) {
    if (options_.length < kTraceMax) return std::optional<Request>{};
    return rows_->fault(
        fmt::format("the trace is longer than {} days: {} days after its beginning",
                    kTraceMax / std::chrono::hours(24), at / std::chrono::hours(24)),
        "time");
  }

  // Until nothing that is still to come may stand before the first one held.
  Result<void> read_ahead() {
    while (!ended_ && (held_.empty() || newest_ < held_.top().request.at + window_)) {
      auto row = rows_->next();
      if (!row) return row.error();
      if (!*row) {
        ended_ = true;
        return {};
      }
      const Request& request = (*row)->request;
      if (last_ && request.at < *last_)
        return rows_->fault(
            fmt::format("the time goes back by {}; sort the file, or let --sort be longer than {}",
                        format_duration(*last_ - request.at),
                        format_duration(*last_ - request.at + window_)),
            "time");
      newest_ = held_.empty() && !last_ ? request.at : std::max(newest_, request.at);
      held_.push({request, ++order_});
      if (held_.size() > kHeldRowsMax)
        return rows_->fault(fmt::format("more than {} rows lie within {}; let --sort be shorter",
                                        kHeldRowsMax, format_duration(window_)),
                            "time");
    }
    return {};
  }

  std::unique_ptr<RowReader> rows_;
  TraceOptions options_;
  Duration window_;
  Random random_;
  std::priority_queue<Held, std::vector<Held>, std::greater<>> held_;
  std::uint64_t order_ = 0, given_ = 0;
  std::optional<Duration> beginning_, last_;
  Duration newest_{};
  bool ended_ = false;
};

Rows rows_of(LineReader lines, const TraceOptions& options) {
  std::string first;
  do {
    const auto read = lines.next();
    if (!read) return read.error();
    if (!*read) return lines.fault("the file is empty; its first line says what it is");
    first = std::string(**read);
  } while (first.find_first_not_of(" \t") == std::string::npos);
  if (first.starts_with('{')) return mooncake_rows(std::move(lines), std::move(first), options);
  Result<TableReader> table = TableReader::over(std::move(lines), first);
  if (!table) return table.error();
  if (table->has("time_s")) return own_rows(std::move(*table));
  if (table->has("ContextTokens")) return azure_llm_rows(std::move(*table), options);
  if (table->has("end_timestamp")) return azure_functions_2021_rows(std::move(*table), options);
  if (table->has("HashFunction")) return azure_functions_2019_rows(std::move(*table), options);
  if (table->has("rate_rps")) return servegen_rows(std::move(*table), options);
  return table->fault(fmt::format("no kind of trace has this head; known are: {}", kKinds));
}

}  // namespace

std::optional<std::uint32_t> NameTable::number_of(std::string_view name) {
  const auto known = numbers_.find(name);
  if (known != numbers_.end()) return known->second;
  if (names_.size() >= domain::kFunctionsMax) return std::nullopt;
  const auto number = static_cast<std::uint32_t>(names_.size());
  names_.emplace_back(name);
  numbers_.emplace(names_.back(), number);
  return number;
}

Result<std::uint32_t> function_number(NameTable& names, std::string_view name,
                                      const TableReader& table, std::string_view field) {
  if (name.empty() || name.size() > kNameBytesMax)
    return table.fault(fmt::format("`{}` must be a name of 1 to {} bytes", field, kNameBytesMax),
                       std::string(field));
  const std::optional<std::uint32_t> number = names.number_of(name);
  if (!number)
    return table.fault(fmt::format("`{}`: there are more than {} functions; cut the trace to fewer",
                                   field, domain::kFunctionsMax),
                       std::string(field));
  return *number;
}

Result<std::unique_ptr<RequestSource>> open_trace(const std::string& path,
                                                  const TraceOptions& options) {
  if (!(options.keep > 0 && options.keep <= 1))
    return bad_option("keep", fmt::format("must lie above 0 and up to 1, not {}", options.keep));
  if (!(options.tokens_per_s > 0))
    return bad_option("tokens-per-s", fmt::format("must be above 0, not {}", options.tokens_per_s));
  Result<LineReader> lines = LineReader::open(path);
  if (!lines) return lines.error();
  Rows rows = rows_of(std::move(*lines), options);
  if (!rows) return rows.error();
  return std::unique_ptr<RequestSource>(std::make_unique<OrderedSource>(std::move(*rows), options));
}

}  // namespace glowplug::simulate
