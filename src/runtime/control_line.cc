#include "runtime/control_line.h"

#include <algorithm>
#include <limits>
#include <utility>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "domain/errors.h"
#include "runtime/log_ring.h"

namespace glowplug::runtime {
namespace {

namespace json = boost::json;

Error bad(std::string why) {
  return Error{std::string(domain::error::kReplicaFailed), std::move(why), {}};
}

std::optional<std::uint64_t> whole_number(const json::object& object, std::string_view field) {
  const json::value* number = object.if_contains(field);
  if (number == nullptr) return std::nullopt;
  boost::system::error_code out_of_range;
  const auto whole = number->to_number<std::uint64_t>(out_of_range);
  return out_of_range ? std::nullopt : std::optional(whole);
}

// Entries that say something else are left out: it is a hint.
std::vector<WorkerKept::Shared> shared_in(const json::object& object) {
  std::vector<WorkerKept::Shared> all;
  const json::value* list = object.if_contains("shared");
  if (list == nullptr || !list->is_array()) return all;
  for (const json::value& one : list->get_array()) {
    if (!one.is_object()) continue;
    const auto copy = whole_number(one.get_object(), "copy");
    const auto tokens = whole_number(one.get_object(), "tokens");
    const auto prompts = whole_number(one.get_object(), "prompts");
    if (copy && tokens && prompts) all.push_back({*copy, *tokens, *prompts});
  }
  return all;
}

}  // namespace

Result<ControlMessage> parse_control_line(std::string_view line) {
  boost::system::error_code code;
  json::parse_options options;
  options.max_depth = 8;
  const json::value value =
      json::parse(json::string_view(line.data(), line.size()), code, {}, options);
  if (code || !value.is_object())
    return bad(fmt::format("is not a JSON object: '{}'", printable(line.substr(0, 80))));
  const json::object& object = value.get_object();
  const json::value* state = object.if_contains("state");
  if (state == nullptr || !state->is_string()) return bad("has no string 'state'");
  const std::string name(state->get_string());
  if (name == "ready") {
    WorkerReady ready;
    if (const json::value* sandbox = object.if_contains("sandbox")) {
      if (!sandbox->is_string()) return bad("has a 'sandbox' that is not a string");
      ready.sandbox = printable(std::string_view(sandbox->get_string()));
    }
    if (const json::value* read = object.if_contains("bytes_read")) {
      boost::system::error_code out_of_range;
      ready.bytes_read = read->to_number<std::uint64_t>(out_of_range);
      if (out_of_range) return bad("has a 'bytes_read' that is no whole number");
    }
    return ControlMessage(std::move(ready));
  }
  if (name == "loading") {
    const json::value* progress = object.if_contains("progress");
    if (progress == nullptr) return ControlMessage(WorkerLoading{});
    if (!progress->is_number()) return bad("has a 'progress' that is not a number");
    return ControlMessage(WorkerLoading{std::clamp(progress->to_number<double>(), 0.0, 1.0)});
  }
  if (name == "failed") {
    const json::value* cause = object.if_contains("cause");
    if (cause == nullptr || !cause->is_string()) return bad("has no string 'cause'");
    return ControlMessage(WorkerFailed{printable(std::string_view(cause->get_string()))});
  }
  if (name == "forked") {
    const json::value* pid = object.if_contains("pid");
    if (pid == nullptr || !pid->is_int64() || pid->get_int64() <= 1 ||
        pid->get_int64() > std::numeric_limits<pid_t>::max())
      return bad("has no process number 'pid'");
    return ControlMessage(WorkerForked{static_cast<pid_t>(pid->get_int64())});
  }
  if (name == "overwriting") return ControlMessage(WorkerOverwriting{});
  if (name == "kept" || name == "wants") {
    const char* field = name == "kept" ? "count" : "id";
    const std::optional<std::uint64_t> whole = whole_number(object, field);
    if (!whole) return bad(fmt::format("has no whole number '{}'", field));
    if (name == "kept") return ControlMessage(WorkerKept{*whole, shared_in(object)});
    return ControlMessage(WorkerWants{*whole});
  }
  return bad(fmt::format("has the unknown state '{}'", printable(name.substr(0, 80))));
}

}  // namespace glowplug::runtime
