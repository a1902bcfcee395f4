#include "gateway/job_request.h"

#include <algorithm>
#include <charconv>
#include <vector>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include "base/fnv.h"
#include "base/units.h"
#include "domain/errors.h"
#include "gateway/json_text.h"
#include "gateway/request_fields.h"

namespace glowplug::gateway {
namespace {

namespace json = boost::json;
using namespace std::chrono_literals;

constexpr std::size_t kKeyBytesMax = 255;
constexpr std::size_t kWebhookBytesMax = 2048;
constexpr Duration kTtlMin = 1s, kTtlMax = 7 * 24h;

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

bool is_word(std::string_view text, std::string_view lower) {
  return std::equal(text.begin(), text.end(), lower.begin(), lower.end(),
                    [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a + 32 : a) == b; });
}

bool is_lower_hex(std::string_view text) {
  return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool is_zero(std::string_view text) {
  return text.find_first_not_of('0') == std::string_view::npos;
}

// One text for all bodies that say the same: without blanks, the fields of each object by name.
void append_canonical(const json::value& value, std::string& text) {
  if (const json::object* object = value.if_object()) {
    std::vector<const json::key_value_pair*> fields;
    for (const json::key_value_pair& one : *object) fields.push_back(&one);
    std::sort(fields.begin(), fields.end(),
              [](const auto* a, const auto* b) { return a->key() < b->key(); });
    text += '{';
    for (const json::key_value_pair* one : fields) {
      text += json::serialize(json::string_view(one->key()));
      text += ':';
      append_canonical(one->value(), text);
      text += ',';
    }
    text += '}';
  } else if (const json::array* array = value.if_array()) {
    text += '[';
    for (const json::value& one : *array) {
      append_canonical(one, text);
      text += ',';
    }
    text += ']';
  } else {
    text += json::serialize(value);
  }
}

// What is no JSON is compared as it is.
std::string canonical(std::string_view body) {
  boost::system::error_code ec;
  json::parse_options options;
  options.max_depth = domain::kJsonDepthMax;
  const json::value value = json::parse(body, ec, {}, options);
  std::string text;
  if (ec) return text.append(body);
  append_canonical(value, text);
  return text;
}

struct Span {
  Duration low, high;
};

std::string shown(Duration duration) { return format_duration(duration); }

// A duration like "5m", or seconds.
Result<std::optional<Duration>> read_span(const json::object& object, std::string_view name,
                                          Span range) {
  const json::value* value = field(object, name);
  if (value == nullptr) return std::optional<Duration>();
  std::optional<Duration> read;
  if (value->is_string()) read = parse_duration(std::string_view(value->as_string()));
  if (const std::optional<long> seconds = integer(object, name);
      seconds && *seconds >= 0 && *seconds < 1'000'000'000)
    read = std::chrono::seconds(*seconds);
  if (read && *read >= range.low && *read <= range.high) return read;
  return invalid(name, fmt::format("must be a duration like \"5m\", or seconds, from {} to {}.",
                                   shown(range.low), shown(range.high)));
}

Result<std::string> read_function(const json::object& body) {
  const json::value* name = field(body, "function");
  if (name == nullptr) name = field(body, "model");
  if (name == nullptr) return missing("function", "is required: the name of a function.");
  if (!name->is_string()) return invalid("function", "must be a string.");
  return std::string(name->as_string());
}

// The route that the request is one of, by what it has, unless `path` says it.
Result<std::string> read_path(const json::object& body, const json::object& request,
                              const std::string& function) {
  if (const json::value* path = field(body, "path")) {
    if (path->is_string()) return std::string(path->as_string());
    return invalid("path", "must be a string like \"/v1/chat/completions\".");
  }
  if (field(request, "messages")) return std::string("/v1/chat/completions");
  if (field(request, "prompt")) return std::string("/v1/completions");
  if (field(request, "input")) return std::string("/v1/embeddings");
  if (field(request, "body") || field(request, "specversion"))
    return "/v1/functions/" + function + "/invoke";
  return missing("path", "is required where the request has no messages, prompt, input or body.");
}

Result<json::object> read_request(const json::object& body, const std::string& function,
                                  std::string_view path) {
  const json::value* request = field(body, "request");
  if (request == nullptr)
    return missing("request", "is required: the body of a call, without its model.");
  if (!request->is_object()) return invalid("request", "must be an object.");
  json::object read = request->as_object();
  const bool is_event = path.ends_with("/invoke");
  const json::value* model = field(read, "model");
  if (model == nullptr && !is_event) read["model"] = function;
  if (model != nullptr && !is_event && *model != json::value(function))
    return invalid("request.model", "names another function than the job; leave it out.");
  return read;
}

Result<domain::JobUrgency> read_priority(const json::object& body) {
  const json::value* value = field(body, "priority");
  if (value == nullptr || *value == json::value("interactive"))
    return domain::JobUrgency::Interactive;
  if (*value == json::value("batch")) return domain::JobUrgency::Batch;
  return invalid("priority", "must be \"interactive\" or \"batch\".");
}

// Where it leads is judged again at each attempt; what can be told from the address is told here.
Result<std::string> read_webhook(const json::object& body, const JobRules& rules) {
  const json::value* value = field(body, "webhook");
  if (value == nullptr) return std::string();
  const std::string_view url =
      value->is_string() ? std::string_view(value->as_string()) : std::string_view();
  const bool has_scheme = url.starts_with("https://") || url.starts_with("http://");
  if (!has_scheme || url.size() > kWebhookBytesMax)
    return invalid("webhook", fmt::format("must be an https:// or http:// address of at most {} "
                                          "characters.",
                                          kWebhookBytesMax));
  const Result<void> checked = rules.check_webhook(std::string(url));
  if (checked) return std::string(url);
  return Error{checked.error().code, checked.error().message, "webhook"};
}

Result<void> read_terms(const json::object& body, queue::SubmitOptions& options) {
  const auto ttl = read_span(body, "ttl", {kTtlMin, kTtlMax});
  if (!ttl) return ttl.error();
  options.terms.ttl = ttl->value_or(options.terms.ttl);
  const auto delay = read_span(body, "delay", {0s, kTtlMax});
  if (!delay) return delay.error();
  options.delay = delay->value_or(Duration(0));
  if (options.delay >= options.terms.ttl)
    return invalid("delay", "must be shorter than ttl, which counts from now on.");
  const auto run = read_span(body, "execution_timeout", {1s, 24h});
  if (!run) return run.error();
  options.terms.limits.run_timeout = run->value_or(options.terms.limits.run_timeout);
  if (Result<void> attempts = check_integer(body, "max_attempts", {1, 20}); !attempts)
    return attempts;
  options.terms.limits.attempts_max =
      static_cast<int>(integer(body, "max_attempts").value_or(options.terms.limits.attempts_max));
  return {};
}

}  // namespace

Result<Preference> read_preference(std::string_view prefer, std::string_view invocation_type) {
  Preference preference;
  preference.async = is_word(invocation_type, "event");
  while (!prefer.empty()) {
    const std::size_t end = std::min(prefer.find(','), prefer.size());
    std::string_view one = prefer.substr(0, end);
    one = trimmed(one.substr(0, one.find(';')));
    prefer.remove_prefix(std::min(end + 1, prefer.size()));
    if (is_word(one, "respond-async")) preference.async = true;
    const std::size_t equals = one.find('=');
    if (equals == std::string_view::npos || !is_word(trimmed(one.substr(0, equals)), "wait"))
      continue;
    const Result<Duration> wait = read_wait(trimmed(one.substr(equals + 1)));
    if (!wait) return invalid("Prefer", "wait must be a number of seconds, as wait=10.");
    preference.wait = *wait;
  }
  return preference;
}

Result<Duration> read_wait(std::string_view seconds) {
  int read = 0;
  const auto [end, ec] = std::from_chars(seconds.data(), seconds.data() + seconds.size(), read);
  if (seconds.empty() || ec != std::errc() || end != seconds.data() + seconds.size() || read < 0)
    return invalid("wait", "must be a number of seconds.");
  return std::min<Duration>(std::chrono::seconds(read), domain::kJobWaitMax);
}

Result<std::optional<storage::IdempotencyKey>> read_key(std::string_view header,
                                                        std::string_view route,
                                                        std::string_view body) {
  std::string_view key = trimmed(header);
  if (key.empty()) return std::optional<storage::IdempotencyKey>();
  if (key.size() >= 2 && key.front() == '"' && key.back() == '"')
    key = key.substr(1, key.size() - 2);
  else if (key.front() == '"' || key.back() == '"')
    return invalid("Idempotency-Key", "has a quotation mark at one end only.");
  const bool plain =
      std::all_of(key.begin(), key.end(), [](char c) { return c >= ' ' && c <= '~'; });
  if (key.empty() || key.size() > kKeyBytesMax || !plain)
    return invalid("Idempotency-Key",
                   fmt::format("must be 1 to {} plain characters.", kKeyBytesMax));
  return std::optional(
      storage::IdempotencyKey{.scope = std::string(route),
                              .key = std::string(key),
                              .body_hash = fmt::format("{:016x}", fnv(canonical(body)))});
}

Result<std::optional<Duration>> read_cancel_after(std::string_view header) {
  const std::string_view text = trimmed(header);
  if (text.empty()) return std::optional<Duration>();
  const std::optional<Duration> read = parse_duration(text);
  if (read && *read >= kTtlMin && *read <= kTtlMax) return read;
  return invalid("Cancel-After", fmt::format("must be a duration like 10m, from {} to {}.",
                                             shown(kTtlMin), shown(kTtlMax)));
}

// version-trace-parent-flags; a later version than ours, which is 00, may have more behind them.
std::string usable_traceparent(std::string_view header) {
  constexpr std::size_t kBytes = 55;
  const std::string_view text = trimmed(header);
  if (text.size() < kBytes || text[2] != '-' || text[35] != '-' || text[52] != '-') return {};
  const std::string_view version = text.substr(0, 2), trace = text.substr(3, 32),
                         parent = text.substr(36, 16), flags = text.substr(53, 2);
  for (const std::string_view part : {version, trace, parent, flags})
    if (!is_lower_hex(part)) return {};
  if (version == "ff" || is_zero(trace) || is_zero(parent)) return {};
  if (text.size() > kBytes && (version == "00" || text[kBytes] != '-')) return {};
  return fmt::format("00-{}-{}-{}", trace, parent, flags);
}

Result<queue::Submission> read_job(std::string_view text, const JobRules& rules) {
  const Result<json::object> body = parse_object(text);
  if (!body) return body.error();
  for (const auto& [key, value] : *body)
    if (auto known = check_known(key, {"function", "model", "request", "path", "delay", "ttl",
                                       "execution_timeout", "max_attempts", "webhook", "priority"});
        !known)
      return known.error();
  const Result<std::string> function = read_function(*body);
  if (!function) return function.error();
  const json::value* given = field(*body, "request");
  const json::object empty;
  const Result<std::string> path = read_path(
      *body, given != nullptr && given->is_object() ? given->as_object() : empty, *function);
  const Result<json::object> request =
      read_request(*body, *function, path ? std::string_view(*path) : std::string_view());
  if (!request) return request.error();
  if (!path) return path.error();
  queue::Submission submission;
  submission.request = {.function = *function, .path = *path, .body = json::serialize(*request)};
  if (const auto timeout = rules.timeout_of(*function))
    submission.options.terms.limits.run_timeout = *timeout;
  if (Result<void> terms = read_terms(*body, submission.options); !terms) return terms.error();
  const Result<domain::JobUrgency> urgency = read_priority(*body);
  if (!urgency) return urgency.error();
  submission.options.urgency = *urgency;
  const Result<std::string> webhook = read_webhook(*body, rules);
  if (!webhook) return webhook.error();
  submission.options.webhook = *webhook;
  return submission;
}

}  // namespace glowplug::gateway
