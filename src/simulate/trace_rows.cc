// Traces with a row for each call: ours, Azure LLM 2023, Azure Functions 2021.
#include "simulate/trace_rows.h"

#include <charconv>
#include <chrono>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "simulate/seconds.h"

namespace glowplug::simulate {
namespace {

using namespace std::chrono_literals;

constexpr NumberRange kTokens{0, kTokensMax};
constexpr NumberRange kSeconds{0, 4e9};  // also seconds of a clock that began in 1970
constexpr double kTenantsMax = 4e9;

// To the nanosecond, as far as the number holds it.
Duration at_second(double seconds) {
  return Duration(static_cast<std::int64_t>(std::llround(seconds * 1e9)));
}

class OwnRows final : public RowReader {
 public:
  struct Columns {
    std::size_t time, function, prompt, output;
    std::optional<std::size_t> tenant;
  };
  OwnRows(TableReader table, const Columns& columns)
      : table_(std::move(table)), columns_(columns) {}

  Result<std::optional<TraceRow>> next() override {
    const Result<bool> more = table_.next();
    if (!more) return more.error();
    if (!*more) return std::optional<TraceRow>{};
    const Result<double> time = table_.number(columns_.time, kSeconds);
    if (!time) return time.error();
    const Result<std::uint32_t> function =
        function_number(names_, table_.text(columns_.function), table_, "function");
    if (!function) return function.error();
    const Result<int> prompt = table_.whole(columns_.prompt, kTokens);
    if (!prompt) return prompt.error();
    const Result<int> output = table_.whole(columns_.output, kTokens);
    if (!output) return output.error();
    TraceRow row{.request = {.at = at_second(*time),
                             .function = *function,
                             .prompt_tokens = *prompt,
                             .output_tokens = *output},
                 .line = table_.line()};
    if (columns_.tenant) {
      const Result<double> tenant = table_.number(*columns_.tenant, {0, kTenantsMax});
      if (!tenant) return tenant.error();
      row.request.tenant = static_cast<std::uint32_t>(*tenant);
    }
    return std::optional(row);
  }
  const std::vector<std::string>& functions() const override { return names_.names(); }
  Error fault(const std::string& what, const std::string& field) const override {
    return table_.fault(what, field);
  }

 private:
  TableReader table_;
  Columns columns_;
  NameTable names_;
};

// "2023-11-16 18:17:03.9799600", since 1970.
std::optional<Duration> parse_timestamp(std::string_view text) {
  const auto digits = [&text](std::size_t at, std::size_t count) {
    int value = -1;
    if (at + count > text.size()) return value;
    const char* const end = text.data() + at + count;
    return std::from_chars(text.data() + at, end, value).ptr == end ? value : -1;
  };
  if (text.size() < 19 || text[4] != '-' || text[7] != '-' || text[10] != ' ' || text[13] != ':' ||
      text[16] != ':')
    return std::nullopt;
  const std::chrono::year_month_day day{std::chrono::year(digits(0, 4)),
                                        std::chrono::month(static_cast<unsigned>(digits(5, 2))),
                                        std::chrono::day(static_cast<unsigned>(digits(8, 2)))};
  const int hour = digits(11, 2), minute = digits(14, 2), second = digits(17, 2);
  if (!day.ok() || hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60)
    return std::nullopt;
  Duration at =
      std::chrono::sys_days(day).time_since_epoch() + hour * 1h + minute * 1min + second * 1s;
  Duration unit = 100ms;
  for (std::size_t i = 19; i < text.size(); ++i) {
    if (i == 19 && text[i] == '.') continue;
    if (text[i] < '0' || text[i] > '9' || text[19] != '.') return std::nullopt;
    at += unit * (text[i] - '0');
    unit /= 10;
  }
  return at;
}

class AzureLlmRows final : public RowReader {
 public:
  struct Columns {
    std::size_t time, prompt, output;
  };
  AzureLlmRows(TableReader table, const Columns& columns, const std::string& function)
      : table_(std::move(table)), columns_(columns) {
    names_.number_of(function);
  }

  Result<std::optional<TraceRow>> next() override {
    const Result<bool> more = table_.next();
    if (!more) return more.error();
    if (!*more) return std::optional<TraceRow>{};
    const std::optional<Duration> at = parse_timestamp(table_.text(columns_.time));
    if (!at)
      return table_.fault(
          fmt::format("`TIMESTAMP` must be as 2023-11-16 18:17:03.9799600, not '{}'",
                      table_.text(columns_.time).substr(0, 40)),
          "TIMESTAMP");
    const Result<int> prompt = table_.whole(columns_.prompt, kTokens);
    if (!prompt) return prompt.error();
    const Result<int> output = table_.whole(columns_.output, kTokens);
    if (!output) return output.error();
    return std::optional(
        TraceRow{.request = {.at = *at, .prompt_tokens = *prompt, .output_tokens = *output},
                 .line = table_.line()});
  }
  const std::vector<std::string>& functions() const override { return names_.names(); }
  Error fault(const std::string& what, const std::string& field) const override {
    return table_.fault(what, field);
  }

 private:
  TableReader table_;
  Columns columns_;
  NameTable names_;
};

// A row is written when the call ends, so that beginnings are out of order.
class AzureFunctionsRows final : public RowReader {
 public:
  struct Columns {
    std::size_t app, function, end, duration;
  };
  AzureFunctionsRows(TableReader table, const Columns& columns, double tokens_per_s)
      : table_(std::move(table)), columns_(columns), tokens_per_s_(tokens_per_s) {}

  Result<std::optional<TraceRow>> next() override {
    const Result<bool> more = table_.next();
    if (!more) return more.error();
    if (!*more) return std::optional<TraceRow>{};
    const Result<double> end = table_.number(columns_.end, kSeconds);
    if (!end) return end.error();
    const Result<double> duration = table_.number(columns_.duration, kSeconds);
    if (!duration) return duration.error();
    const std::string name = std::string(table_.text(columns_.app).substr(0, kHashShown)) + "-" +
                             std::string(table_.text(columns_.function).substr(0, kHashShown));
    const Result<std::uint32_t> function = function_number(names_, name, table_, "func");
    if (!function) return function.error();
    const double tokens = std::min<double>(kTokensMax, *duration * tokens_per_s_);
    return std::optional(TraceRow{.request = {.at = at_second(*end) - at_second(*duration),
                                              .function = *function,
                                              .output_tokens = static_cast<int>(tokens)},
                                  .line = table_.line()});
  }
  const std::vector<std::string>& functions() const override { return names_.names(); }
  Error fault(const std::string& what, const std::string& field) const override {
    return table_.fault(what, field);
  }
  Duration disorder() const override { return kLongestCall; }

 private:
  static constexpr std::size_t kHashShown = 12;
  static constexpr Duration kLongestCall = 15min;

  TableReader table_;
  Columns columns_;
  double tokens_per_s_;
  NameTable names_;
};

}  // namespace

Rows own_rows(TableReader table) {
  OwnRows::Columns columns{};
  for (const auto& [name, into] :
       {std::pair<std::string_view, std::size_t*>("time_s", &columns.time),
        {"function", &columns.function},
        {"prompt_tokens", &columns.prompt},
        {"output_tokens", &columns.output}}) {
    const Result<std::size_t> column = table.column(name);
    if (!column) return column.error();
    *into = *column;
  }
  if (table.has("tenant")) columns.tenant = *table.column("tenant");
  return std::unique_ptr<RowReader>(std::make_unique<OwnRows>(std::move(table), columns));
}

Rows azure_llm_rows(TableReader table, const TraceOptions& options) {
  AzureLlmRows::Columns columns{};
  for (const auto& [name, into] :
       {std::pair<std::string_view, std::size_t*>("TIMESTAMP", &columns.time),
        {"ContextTokens", &columns.prompt},
        {"GeneratedTokens", &columns.output}}) {
    const Result<std::size_t> column = table.column(name);
    if (!column) return column.error();
    *into = *column;
  }
  return std::unique_ptr<RowReader>(
      std::make_unique<AzureLlmRows>(std::move(table), columns, options.function));
}

Rows azure_functions_2021_rows(TableReader table, const TraceOptions& options) {
  AzureFunctionsRows::Columns columns{};
  for (const auto& [name, into] : {std::pair<std::string_view, std::size_t*>("app", &columns.app),
                                   {"func", &columns.function},
                                   {"end_timestamp", &columns.end},
                                   {"duration", &columns.duration}}) {
    const Result<std::size_t> column = table.column(name);
    if (!column) return column.error();
    *into = *column;
  }
  return std::unique_ptr<RowReader>(
      std::make_unique<AzureFunctionsRows>(std::move(table), columns, options.tokens_per_s));
}

}  // namespace glowplug::simulate
