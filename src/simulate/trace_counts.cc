// Traces that count calls instead of naming each: Azure Functions 2019 by minute, ServeGen by rates
// of clients in windows of ten minutes. The file is read whole, as counts; calls are drawn from
// them one minute or window at a time.
#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "simulate/seconds.h"
#include "simulate/trace_rows.h"

namespace glowplug::simulate {
namespace {

constexpr double kCallsAtOnceMax = 5e6;  // of one minute, or one window
constexpr std::size_t kRowsMax = 5'000'000;
constexpr double kWindow = 600;  // seconds
constexpr std::size_t kHashShown = 12;

// The calls of one span of time, handed out in order.
class Span final {
 public:
  std::optional<Request> take() {
    return at_ < calls_.size() ? std::optional(calls_[at_++]) : std::nullopt;
  }
  void clear() {
    calls_.clear();
    at_ = 0;
  }
  void add(const Request& call) { calls_.push_back(call); }
  void sort() {
    std::stable_sort(calls_.begin(), calls_.end(),
                     [](const Request& a, const Request& b) { return a.at < b.at; });
  }

 private:
  std::vector<Request> calls_;
  std::size_t at_ = 0;
};

class CountRows : public RowReader {
 public:
  CountRows(const TraceOptions& options) : options_(options), random_(options.seed) {}

  Result<std::optional<TraceRow>> next() final {
    while (true) {
      if (const auto call = span_.take()) return std::optional(TraceRow{.request = *call});
      span_.clear();
      if (!fill(span_)) return std::optional<TraceRow>{};
      span_.sort();
    }
  }
  const std::vector<std::string>& functions() const final { return names_.names(); }
  Error fault(const std::string& what, const std::string& field) const final {
    return {"invalid_value", what, field};
  }

 protected:
  virtual bool fill(Span& span) = 0;  // false at the end
  void add(Span& span, double at_s, std::uint32_t function) {
    span.add({.at = from_seconds(at_s),
              .function = function,
              .prompt_tokens = draw(options_.prompt, random_),
              .output_tokens = draw(options_.output, random_)});
  }

  TraceOptions options_;
  Random random_;
  NameTable names_;

 private:
  Span span_;
};

class MinuteRows final : public CountRows {
 public:
  explicit MinuteRows(const TraceOptions& options) : CountRows(options) {}

  Result<void> read(TableReader& table) {
    const std::size_t first = first_minute(table);
    if (first == table.head().size()) return table.fault("there is no column of a minute: 1, 2, …");
    const Result<std::size_t> owner = table.column("HashOwner"), app = table.column("HashApp"),
                              function = table.column("HashFunction");
    for (const auto* column : {&owner, &app, &function})
      if (!*column) return column->error();
    minutes_.resize(table.head().size() - first);
    std::vector<double> totals(minutes_.size());
    while (true) {
      const Result<bool> more = table.next();
      if (!more) return more.error();
      if (!*more) return {};
      std::string name(table.text(*app).substr(0, kHashShown));
      name.append("-").append(table.text(*function).substr(0, kHashShown));
      const auto number = function_number(names_, name, table, "HashFunction");
      if (!number) return number.error();
      for (std::size_t minute = 0; minute < minutes_.size(); ++minute) {
        const Result<int> count = table.whole(first + minute, {0, kCallsAtOnceMax});
        if (!count) return count.error();
        if (*count == 0) continue;
        totals[minute] += *count;
        if (totals[minute] > kCallsAtOnceMax)
          return table.fault(
              fmt::format("minute {} has more than {} calls", minute + 1, kCallsAtOnceMax),
              table.head()[first + minute]);
        minutes_[minute].emplace_back(*number, *count);
      }
    }
  }

 private:
  static std::size_t first_minute(const TableReader& table) {
    return static_cast<std::size_t>(std::find(table.head().begin(), table.head().end(), "1") -
                                    table.head().begin());
  }
  bool fill(Span& span) override {
    if (minute_ == minutes_.size()) return false;
    for (const auto& [function, count] : minutes_[minute_])
      for (int i = 0; i < count; ++i)
        add(span, 60 * (static_cast<double>(minute_) + random_.unit()), function);
    ++minute_;
    return true;
  }

  std::vector<std::vector<std::pair<std::uint32_t, int>>> minutes_;
  std::size_t minute_ = 0;
};

class WindowRows final : public CountRows {
 public:
  explicit WindowRows(const TraceOptions& options) : CountRows(options) {}

  Result<void> read(TableReader& table) {
    std::size_t client = 0, begin = 0, rate = 0, pattern = 0, shape = 0;
    for (const auto& [name, into] : {std::pair<std::string_view, std::size_t*>("client", &client),
                                     {"ts_s", &begin},
                                     {"rate_rps", &rate},
                                     {"pattern", &pattern},
                                     {"p1", &shape}}) {
      const Result<std::size_t> column = table.column(name);
      if (!column) return column.error();
      *into = *column;
    }
    while (true) {
      const Result<bool> more = table.next();
      if (!more) return more.error();
      if (!*more) break;
      if (windows_.size() == kRowsMax)
        return table.fault(fmt::format("there are more than {} rows", kRowsMax));
      const auto number =
          function_number(names_, fmt::format("client-{}", table.text(client)), table, "client");
      if (!number) return number.error();
      const Result<double> at = table.number(begin, {0, to_seconds(kTraceMax)}),
                           per_s = table.number(rate, {0, kCallsAtOnceMax / kWindow}),
                           law = table.number(shape, {1e-6, 1e6});
      for (const auto* read : {&at, &per_s, &law})
        if (!*read) return read->error();
      if (table.text(pattern) != "Gamma" && table.text(pattern) != "Weibull")
        return table.fault(fmt::format("`pattern` must be Gamma or Weibull, not '{}'",
                                       table.text(pattern).substr(0, 40)),
                           "pattern");
      windows_.push_back({*at, *number, *per_s, *law, table.text(pattern) == "Gamma"});
    }
    std::stable_sort(windows_.begin(), windows_.end(),
                     [](const Window& a, const Window& b) { return a.begin_s < b.begin_s; });
    return {};
  }

 private:
  struct Window {
    double begin_s = 0;
    std::uint32_t client = 0;
    double rate = 0, shape = 1;
    bool is_gamma = false;
  };

  // Windows of all clients that begin together.
  bool fill(Span& span) override {
    if (at_ == windows_.size()) return false;
    const double begin = windows_[at_].begin_s;
    for (; at_ < windows_.size() && windows_[at_].begin_s == begin; ++at_)
      fill(span, windows_[at_]);
    return true;
  }
  void fill(Span& span, const Window& window) {
    const auto count = static_cast<std::size_t>(window.rate * kWindow + random_.unit());
    std::vector<double> times;
    double sum = 0;
    for (std::size_t i = 0; i <= count; ++i) {
      sum += window.is_gamma ? random_.gamma(window.shape) : random_.weibull(window.shape);
      times.push_back(sum);
    }
    for (std::size_t i = 0; i < count; ++i)
      add(span, window.begin_s + (sum > 0 ? times[i] / sum : random_.unit()) * kWindow,
          window.client);
  }

  std::vector<Window> windows_;
  std::size_t at_ = 0;
};

template <typename Kind>
Rows read_whole(TableReader table, const TraceOptions& options) {
  auto rows = std::make_unique<Kind>(options);
  if (const Result<void> read = rows->read(table); !read) return read.error();
  return std::unique_ptr<RowReader>(std::move(rows));
}

}  // namespace

Rows azure_functions_2019_rows(TableReader table, const TraceOptions& options) {
  return read_whole<MinuteRows>(std::move(table), options);
}

Rows servegen_rows(TableReader table, const TraceOptions& options) {
  return read_whole<WindowRows>(std::move(table), options);
}

}  // namespace glowplug::simulate
