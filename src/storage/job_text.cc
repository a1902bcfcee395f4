#include "storage/job_text.h"

#include <charconv>

#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include "domain/errors.h"

namespace glowplug::storage {
namespace {

namespace json = boost::json;

constexpr std::string_view kIdPrefix = "job_";
constexpr std::size_t kIdDigits = 16;

std::int64_t ms(Duration duration) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}

std::int64_t number(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value != nullptr && value->is_int64() ? value->as_int64() : 0;
}

Duration duration(const json::object& object, std::string_view name) {
  return std::chrono::milliseconds(number(object, name));
}

Result<json::object> parse(const std::string& text) {
  boost::system::error_code ec;
  json::value value = json::parse(text, ec);
  if (!ec && value.is_object()) return std::move(value.as_object());
  return Error{std::string(domain::error::kStorageFailed),
               "a stored job holds text that is no JSON object; restore the state file from a "
               "backup",
               {}};
}

}  // namespace

std::string to_text(domain::JobId id) { return fmt::format("{}{:016x}", kIdPrefix, id.value); }

std::optional<domain::JobId> parse_job_id(std::string_view text) {
  if (!text.starts_with(kIdPrefix)) return std::nullopt;
  text.remove_prefix(kIdPrefix.size());
  if (text.size() != kIdDigits) return std::nullopt;
  for (const char c : text)
    if ((c < '0' || c > '9') && (c < 'a' || c > 'f')) return std::nullopt;
  domain::JobId id;
  std::from_chars(text.data(), text.data() + text.size(), id.value, 16);
  return id;
}

std::optional<domain::JobState> parse_job_state(std::string_view text) {
  for (std::size_t i = 0; i < domain::kJobStateNames.size(); ++i)
    if (domain::kJobStateNames[i] == text) return static_cast<domain::JobState>(i);
  return std::nullopt;
}

std::string terms_text(const JobTerms& terms) {
  const control::JobLimits& limits = terms.limits;
  return fmt::format(R"({{"attempts":{},"load_ms":{},"run_ms":{},"heartbeat_ms":{},"ttl_ms":{}}})",
                     limits.attempts_max, ms(limits.load_timeout), ms(limits.run_timeout),
                     ms(limits.heartbeat_timeout), ms(terms.ttl));
}

Result<JobTerms> read_terms(const std::string& text) {
  const Result<json::object> object = parse(text);
  if (!object) return object.error();
  JobTerms terms;
  terms.limits.attempts_max = static_cast<int>(number(*object, "attempts"));
  terms.limits.load_timeout = duration(*object, "load_ms");
  terms.limits.run_timeout = duration(*object, "run_ms");
  terms.limits.heartbeat_timeout = duration(*object, "heartbeat_ms");
  terms.ttl = duration(*object, "ttl_ms");
  return terms;
}

std::string work_text(const JobWork& work) {
  json::object phases;
  work.phases.each([&phases](std::string_view name, Duration took) { phases[name] = ms(took); });
  return json::serialize(json::object{{"phases", std::move(phases)},
                                      {"load_ms", ms(work.load)},
                                      {"exec_ms", ms(work.exec)},
                                      {"cold", work.cold},
                                      {"revision", work.revision},
                                      {"prompt_tokens", work.prompt_tokens},
                                      {"cached_tokens", work.cached_tokens},
                                      {"completion_tokens", work.completion_tokens}});
}

Result<JobWork> read_work(const std::string& text) {
  JobWork work;
  if (text.empty()) return work;
  const Result<json::object> object = parse(text);
  if (!object) return object.error();
  if (const json::value* phases = object->if_contains("phases"); phases && phases->is_object())
    for (std::size_t i = 0; i < domain::kPhaseNames.size(); ++i)
      if (phases->as_object().contains(domain::kPhaseNames[i]))
        work.phases[static_cast<domain::Phase>(i)] =
            duration(phases->as_object(), domain::kPhaseNames[i]);
  work.load = duration(*object, "load_ms");
  work.exec = duration(*object, "exec_ms");
  const json::value* cold = object->if_contains("cold");
  work.cold = cold != nullptr && cold->is_bool() && cold->as_bool();
  work.revision = static_cast<int>(number(*object, "revision"));
  work.prompt_tokens = number(*object, "prompt_tokens");
  work.cached_tokens = number(*object, "cached_tokens");
  work.completion_tokens = number(*object, "completion_tokens");
  return work;
}

}  // namespace glowplug::storage
