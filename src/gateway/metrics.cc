#include "gateway/metrics.h"

#include <algorithm>
#include <iterator>

#include "domain/limits.h"
#include "fmt/format.h"

namespace glowplug::gateway {
namespace {

class Text {
 public:
  explicit Text(MetricsFormat format) : format_(format) {}

  // A counter's family is named without _total in OpenMetrics and with it in the older text format.
  void family(std::string_view name, std::string_view type, std::string_view help) {
    const bool bare = type != "counter" || format_ == MetricsFormat::OpenMetrics;
    const std::string_view suffix = bare ? "" : "_total";
    fmt::format_to(std::back_inserter(text_), "# HELP {0}{1} {2}\n# TYPE {0}{1} {3}\n", name,
                   suffix, help, type);
  }
  template <typename Value>
  void sample(std::string_view name, const std::string& labels, Value value) {
    fmt::format_to(std::back_inserter(text_), "{}{} {}\n", name,
                   labels.empty() ? "" : "{" + labels + "}", value);
  }
  std::string take() {
    if (format_ == MetricsFormat::OpenMetrics) text_ += "# EOF\n";
    return std::move(text_);
  }

 private:
  MetricsFormat format_;
  std::string text_;
};

std::string label(const std::string& function) { return "function=\"" + function + "\""; }

void render_views(Text& text, const std::vector<control::FunctionView>& functions) {
  text.family("glowplug_cold_starts", "counter", "Starts of a replica because a call needed one.");
  for (const auto& view : functions) {
    text.sample("glowplug_cold_starts_total", label(view.manifest.name), view.cold_starts);
  }
  std::map<std::string_view, int> states;
  std::map<std::string_view, int> replicas;
  for (const domain::State state :
       {domain::State::Cold, domain::State::Loading, domain::State::Ready, domain::State::Draining,
        domain::State::Failed}) {
    states[domain::to_string(state)] = 0;
    replicas[domain::to_string(state)] = 0;
  }
  for (const auto& view : functions) {
    ++states[domain::to_string(view.state)];
    for (const auto& replica : view.replicas) ++replicas[domain::to_string(replica.state)];
  }
  text.family("glowplug_functions", "gauge", "Functions by state.");
  for (const auto& [state, number] : states) {
    text.sample("glowplug_functions", fmt::format("state=\"{}\"", state), number);
  }
  text.family("glowplug_replicas", "gauge", "Replicas by state.");
  for (const auto& [state, number] : replicas) {
    text.sample("glowplug_replicas", fmt::format("state=\"{}\"", state), number);
  }
  text.family("glowplug_calls_in_flight", "gauge", "Calls being answered by a replica.");
  for (const auto& view : functions)
    text.sample("glowplug_calls_in_flight", label(view.manifest.name), view.in_flight);
  text.family("glowplug_calls_waiting", "gauge", "Calls held until a replica has room.");
  for (const auto& view : functions)
    text.sample("glowplug_calls_waiting", label(view.manifest.name), view.waiting);
  text.family("glowplug_memory_bytes", "gauge", "Memory reserved for a function's replicas.");
  for (const auto& view : functions)
    text.sample("glowplug_memory_bytes", label(view.manifest.name), view.memory_bytes);
}

}  // namespace

Metrics::Series* Metrics::series_of(const std::string& function) {
  if (const auto found = series_.find(function); found != series_.end()) return &found->second;
  if (series_.size() >= domain::kFunctionsMax) return nullptr;
  return &series_[function];
}

void Metrics::count_request(const std::string& function, int status) {
  if (Series* series = series_of(function)) ++series->requests[status];
}

void Metrics::count_tokens(const std::string& function, const Usage& usage) {
  if (Series* series = series_of(function)) {
    series->tokens.prompt_tokens += usage.prompt_tokens;
    series->tokens.completion_tokens += usage.completion_tokens;
  }
}

void Metrics::observe_first_token(const std::string& function, Duration after) {
  Series* series = series_of(function);
  if (!series) return;
  const double seconds = to_seconds(after);
  const auto bucket =
      std::lower_bound(kBuckets.begin(), kBuckets.end(), seconds) - kBuckets.begin();
  ++series->first_token[static_cast<std::size_t>(bucket)];
  series->first_token_sum += seconds;
}

std::string Metrics::render(const std::vector<control::FunctionView>& functions,
                            std::size_t connections, MetricsFormat format) const {
  Text text(format);
  text.family("glowplug_requests", "counter",
              "Answered inference requests by function and HTTP status.");
  for (const auto& [name, series] : series_) {
    for (const auto& [status, number] : series.requests) {
      text.sample("glowplug_requests_total", fmt::format("{},code=\"{}\"", label(name), status),
                  number);
    }
  }
  text.family("glowplug_tokens", "counter", "Tokens as reported in usage objects.");
  for (const auto& [name, series] : series_) {
    text.sample("glowplug_tokens_total", label(name) + ",kind=\"prompt\"",
                series.tokens.prompt_tokens);
    text.sample("glowplug_tokens_total", label(name) + ",kind=\"completion\"",
                series.tokens.completion_tokens);
  }
  text.family("glowplug_time_to_first_token_seconds", "histogram",
              "From the request's last byte to the first byte of its answer.");
  for (const auto& [name, series] : series_) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i <= kBuckets.size(); ++i) {
      sum += series.first_token[i];
      const std::string edge = i < kBuckets.size() ? fmt::format("{}", kBuckets[i]) : "+Inf";
      text.sample("glowplug_time_to_first_token_seconds_bucket",
                  fmt::format("{},le=\"{}\"", label(name), edge), sum);
    }
    text.sample("glowplug_time_to_first_token_seconds_sum", label(name), series.first_token_sum);
    text.sample("glowplug_time_to_first_token_seconds_count", label(name), sum);
  }
  text.family("glowplug_call_retries", "counter",
              "Calls sent again because a replica failed before it answered.");
  text.sample("glowplug_call_retries_total", "", retries_);
  text.family("glowplug_event_streams_refused", "counter",
              "Streams of function events refused because too many are open.");
  text.sample("glowplug_event_streams_refused_total", "", streams_refused_);
  text.family("glowplug_connections", "gauge", "Open client connections.");
  text.sample("glowplug_connections", "", connections);
  render_views(text, functions);
  return text.take();
}

}  // namespace glowplug::gateway
