#include "gateway/metrics.h"

#include <set>
#include <string_view>

#include "domain/limits.h"
#include "fmt/format.h"
#include "gateway/process_metrics.h"

namespace glowplug::gateway {
namespace {

std::string label(const std::string& function) { return "function=\"" + function + "\""; }

void write_views(MetricsText& text, const std::vector<control::FunctionView>& functions) {
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
  text.family("glowplug_replicas_wanted", "gauge",
              "Replicas that a function's autoscaler wants; absent without load.");
  for (const auto& view : functions)
    if (view.scaling)
      text.sample("glowplug_replicas_wanted", label(view.manifest.name), view.scaling->wanted);
  text.family("glowplug_calls_in_flight", "gauge", "Calls being answered by a replica.");
  for (const auto& view : functions)
    text.sample("glowplug_calls_in_flight", label(view.manifest.name), view.in_flight);
  text.family("glowplug_calls_waiting", "gauge", "Calls held until a replica has room.");
  for (const auto& view : functions)
    text.sample("glowplug_calls_waiting", label(view.manifest.name), view.waiting);
  text.family("glowplug_function_failed", "gauge", "1 while a function cannot be started.");
  for (const auto& view : functions)
    text.sample("glowplug_function_failed", label(view.manifest.name),
                view.state == domain::State::Failed ? 1 : 0);
}

// Functions of one model share a template, which counts once.
void write_templates(MetricsText& text, const std::vector<control::FunctionView>& functions) {
  std::set<domain::ProcessId> counted;
  std::map<domain::State, int> states{
      {domain::State::Loading, 0}, {domain::State::Ready, 0}, {domain::State::Draining, 0}};
  for (const auto& view : functions) {
    if (!view.template_view) continue;
    if (counted.insert(view.template_view->process).second) ++states[view.template_view->state];
  }
  text.family("glowplug_templates", "gauge", "Templates by state.");
  for (const auto& [state, number] : states)
    text.sample("glowplug_templates", fmt::format("state=\"{}\"", domain::to_string(state)),
                number);
}

void write_cache(MetricsText& text, const control::CacheCounters& cache) {
  text.gauge("glowplug_cache_bytes", "Model files in the cache.", cache.bytes);
  text.gauge("glowplug_cache_budget_bytes", "What they may take; 0 = what the disk gives.",
             cache.budget_bytes);
  text.counter("glowplug_cache_verified",
               "Model files whose bytes were hashed and matched their digest.", cache.verified);
  text.counter("glowplug_cache_damaged",
               "Model files that did not match their digest and were moved aside.", cache.damaged);
  text.counter("glowplug_cache_evicted", "Model files removed to make room, or asked.",
               cache.evicted);
  text.counter("glowplug_cache_refused",
               "Downloads refused because the model does not fit into the cache.", cache.refused);
}

void write_prompts(MetricsText& text, const control::PromptCopies& copies) {
  text.gauge("glowplug_prompt_copies", "Copies of prompts' states on the disk.", copies.count);
  text.gauge("glowplug_prompt_copies_bytes", "What they take of it.", copies.bytes);
  text.gauge("glowplug_prompt_copies_budget_bytes", "What they may take.", copies.budget_bytes);
  text.gauge("glowplug_prompt_copies_memory_bytes",
             "What those last used take of the server's memory.", copies.memory_bytes);
  text.counter("glowplug_prompt_copies_kept", "Copies written.", copies.kept);
  text.counter("glowplug_prompt_copies_restored", "Copies handed to a replica.", copies.restored);
  text.counter("glowplug_prompt_copies_evicted", "Copies removed to make room.", copies.evicted);
  text.counter("glowplug_prompt_copies_expired", "Copies removed for their age.", copies.expired);
  text.family("glowplug_prompt_copies_refused", "counter",
              "Copies that were not made or not used; damaged ones are removed.");
  for (const auto& [reason, number] : copies.refused)
    text.sample("glowplug_prompt_copies_refused_total", fmt::format("reason=\"{}\"", reason),
                number);
}

}  // namespace

void Metrics::RecentGrants::count(Time now, bool cold) {
  const std::int64_t step = now.time_since_epoch() / kStep;
  Slot& slot = slots_[static_cast<std::size_t>(step % kSteps)];
  if (slot.step != step) slot = {.step = step};
  ++slot.grants;
  slot.cold += cold ? 1 : 0;
}

std::optional<double> Metrics::RecentGrants::cold_share(Time now) const {
  const std::int64_t step = now.time_since_epoch() / kStep;
  std::uint64_t grants = 0, cold = 0;
  for (const Slot& slot : slots_) {
    if (slot.step <= step - kSteps) continue;
    grants += slot.grants;
    cold += slot.cold;
  }
  if (grants < kGrantsMin) return std::nullopt;
  return static_cast<double>(cold) / static_cast<double>(grants);
}

Metrics::Series* Metrics::series_of(const std::string& function) {
  if (const auto found = series_.find(function); found != series_.end()) return &found->second;
  if (series_.size() >= domain::kFunctionsMax) return nullptr;
  return &series_[function];
}

void Metrics::count_request(const std::string& function, int status) {
  if (Series* series = series_of(function)) ++series->requests[status];
}

void Metrics::count_request_refused(std::string_view code) {
  ++requests_refused_[known_reason(code)];
}

void Metrics::count_tokens(const std::string& function, const Usage& usage) {
  if (Series* series = series_of(function)) {
    series->tokens.prompt_tokens += usage.prompt_tokens;
    series->tokens.completion_tokens += usage.completion_tokens;
  }
}

void Metrics::observe_first_token(const std::string& function, Duration after) {
  if (Series* series = series_of(function)) series->first_token.observe(after);
}

void Metrics::observe_grant(const std::string& function, const control::Grant& grant) {
  Series* series = series_of(function);
  if (!series) return;
  series->recent.count(clock_.now(), grant.cold);
  if (!grant.cold) return;
  series->cold_starts.try_emplace(grant.tier, kStartBounds)
      .first->second.observe(grant.waited.sum());
  // A phase that a start did not have counts as 0 s, so that the means of the phases add up.
  for (const domain::Phase phase :
       {domain::Phase::Queue, domain::Phase::Fetch, domain::Phase::Verify, domain::Phase::Load,
        domain::Phase::Fork}) {
    observe_phase(phase, grant.tier, grant.waited[phase].value_or(Duration(0)));
  }
}

void Metrics::observe_restore(domain::Tier tier, Duration took) {
  observe_phase(domain::Phase::Restore, tier, took);
}

void Metrics::observe_phase(domain::Phase phase, domain::Tier tier, Duration took) {
  start_phases_.try_emplace({phase, tier}, kStartBounds).first->second.observe(took);
}

void Metrics::write_requests(MetricsText& text) const {
  text.family("glowplug_requests", "counter",
              "Answered inference requests by function and HTTP status.");
  for (const auto& [name, series] : series_) {
    for (const auto& [status, number] : series.requests) {
      text.sample("glowplug_requests_total", fmt::format("{},code=\"{}\"", label(name), status),
                  number);
    }
  }
  text.family("glowplug_tokens", "counter",
              "Tokens as reported in usage objects; of a stream that was cut off, its pieces.");
  for (const auto& [name, series] : series_) {
    text.sample("glowplug_tokens_total", label(name) + ",kind=\"prompt\"",
                series.tokens.prompt_tokens);
    text.sample("glowplug_tokens_total", label(name) + ",kind=\"completion\"",
                series.tokens.completion_tokens);
  }
  text.family("glowplug_time_to_first_token_seconds", "histogram",
              "From the request's last byte to the first byte of its answer.");
  for (const auto& [name, series] : series_)
    series.first_token.write(text, "glowplug_time_to_first_token_seconds", label(name));
}

void Metrics::write_refused(MetricsText& text) const {
  text.counter("glowplug_call_retries",
               "Calls sent again because a replica failed before it answered.", retries_);
  text.family("glowplug_requests_refused", "counter",
              "Requests that are no calls and were answered with an error, by its code.");
  for (const auto& [code, number] : requests_refused_)
    text.sample("glowplug_requests_refused_total", fmt::format("reason=\"{}\"", code), number);
  text.counter("glowplug_event_streams_refused",
               "Streams of function events refused because too many are open.", streams_refused_);
  text.counter("glowplug_connections_refused",
               "Connections closed at once because too many are open.", connections_refused_);
}

void Metrics::write_starts(MetricsText& text,
                           const std::vector<control::FunctionView>& functions) const {
  text.family("glowplug_cold_start_seconds", "histogram",
              "How long a call waited that needed a start, by the tier it started from.");
  for (const auto& [name, series] : series_) {
    for (const auto& [tier, taken] : series.cold_starts)
      taken.write(text, "glowplug_cold_start_seconds",
                  fmt::format("{},tier=\"{}\"", label(name), domain::to_string(tier)));
  }
  text.family("glowplug_start_phase_seconds", "histogram",
              "The same by phase, 0 s where a start had none of it; restore comes on top.");
  for (const auto& [key, taken] : start_phases_) {
    taken.write(text, "glowplug_start_phase_seconds",
                fmt::format("phase=\"{}\",tier=\"{}\"", domain::to_string(key.first),
                            domain::to_string(key.second)));
  }
  text.family("glowplug_cold_start_rate", "gauge",
              "Share of the last minute's calls that waited for a start; absent below 10 calls.");
  for (const auto& view : functions) {
    const auto found = series_.find(view.manifest.name);
    if (found == series_.end()) continue;
    if (const auto share = found->second.recent.cold_share(clock_.now()))
      text.sample("glowplug_cold_start_rate", label(view.manifest.name), *share);
  }
}

std::string Metrics::render(const std::vector<control::FunctionView>& functions,
                            std::size_t connections, MetricsFormat format,
                            const std::optional<control::CacheCounters>& cache,
                            const MemoryOf& memory_of, const control::ProcessCounts& processes,
                            const std::function<void(MetricsText&)>& more) {
  std::set<std::string_view> names;
  for (const auto& view : functions) names.insert(view.manifest.name);
  std::erase_if(series_, [&names](const auto& one) { return !names.contains(one.first); });
  MetricsText text(format);
  calls_.keep_only(names);
  calls_.write(text);
  write_requests(text);
  write_starts(text, functions);
  write_refused(text);
  text.gauge("glowplug_connections", "Open client connections.", connections);
  write_views(text, functions);
  write_templates(text, functions);
  write_processes(text, processes);
  write_memory(text, functions, memory_of);
  if (cache) write_cache(text, *cache);
  if (cache && cache->prompts) write_prompts(text, *cache->prompts);
  if (more) more(text);
  return text.take();
}

}  // namespace glowplug::gateway
