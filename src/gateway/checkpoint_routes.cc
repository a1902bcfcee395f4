// /v1/functions/{name}/checkpoints, /traffic and /rollback: saved states of a function and which of
// them answer. Checks of fields are here; what they do is control::Checkpoints'.
#include <chrono>
#include <span>

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include "domain/checkpoint.h"
#include "domain/errors.h"
#include "domain/limits.h"
#include "gateway/function_json.h"
#include "gateway/job_answers.h"
#include "gateway/json_text.h"
#include "gateway/request_fields.h"
#include "gateway/routes.h"
#include "policy/traffic.h"

namespace glowplug::gateway {
namespace {

namespace json = boost::json;

json::object checkpoint_object(const std::string& function, const control::CheckpointView& view) {
  json::object object{{"object", "checkpoint"},         {"id", domain::checkpoint_name(view.step)},
                      {"function", function},           {"step", view.step},
                      {"revision", view.revision},      {"created_at", unix_seconds(view.created)},
                      {"active", view.weight > 0},      {"weight", view.weight},
                      {"verified", view.damage.empty()}};
  if (!view.damage.empty()) {
    object["state"] = "damaged";
    object["reason"] = view.damage;
    return object;
  }
  json::array prompts;
  for (const control::PromptReference& prompt : view.prompts)
    prompts.emplace_back(json::object{{"sha256", prompt.sha256}, {"bytes", prompt.bytes}});
  object["state"] = "saved";
  object["model"] =
      json::object{{"source", view.manifest.model}, {"sha256", view.manifest.model_sha256}};
  object["adapters"] = json::array();
  object["settings"] = manifest_object(view.manifest);
  object["prompts"] = std::move(prompts);
  return object;
}

Reply traffic_reply(const Exchange& exchange,
                    const Result<std::vector<control::ServedView>>& served) {
  if (!served) return exchange.error_reply(served.error());
  tell_jobs(exchange, exchange.name);
  json::array data;
  for (const control::ServedView& one : *served) {
    json::object object{{"revision", one.revision}, {"weight", one.weight}};
    if (one.step)
      object["checkpoint"] = domain::checkpoint_name(*one.step);
    else
      object["checkpoint"] = nullptr;
    data.emplace_back(std::move(object));
  }
  return json_reply(
      200, json::serialize(json::object{
               {"object", "traffic"}, {"function", exchange.name}, {"traffic", std::move(data)}}));
}

Result<json::object> body_of(const Exchange& exchange) {
  if (exchange.request.body().empty()) return json::object();
  return parse_object(exchange.request.body());
}

// Of the path. What is no step names no checkpoint; whether the function exists is asked first.
Result<int> step_of(const Exchange& exchange) {
  const std::optional<int> step = domain::parse_checkpoint(exchange.item);
  if (step) return *step;
  return Error{std::string(domain::error::kNotFound),
               "`" + exchange.item.substr(0, 80) +
                   "` is no checkpoint: write its step, as 10, or its name, as checkpoint-10.",
               "step"};
}

Result<std::optional<int>> wanted_step(const json::object& body) {
  for (const auto& member : body)
    if (member.key() != "step")
      return invalid(std::string(member.key()), "is not known here; there is only `step`.");
  const Range range{1, domain::kCheckpointStepMax};
  if (Result<void> checked = check_integer(body, "step", range); !checked) return checked.error();
  const std::optional<long> step = integer(body, "step");
  return step ? std::optional<int>(static_cast<int>(*step)) : std::nullopt;
}

Result<std::vector<domain::StepWeight>> weights_of(const json::object& body) {
  std::vector<domain::StepWeight> weights;
  for (const auto& member : body) {
    const std::string key(member.key());
    const std::optional<int> step = domain::parse_checkpoint(key);
    if (!step)
      return invalid(key.substr(0, 80),
                     "is no checkpoint: write its step, as 10, or its name, as checkpoint-10.");
    const std::optional<long> weight = integer(body, key);
    if (!weight || *weight < -1'000'000 || *weight > 1'000'000)
      return invalid(key, "must be a whole number from 0 to 100.");
    weights.push_back({*step, static_cast<int>(*weight)});
  }
  if (Result<void> checked = policy::check_weights(weights); !checked) return checked.error();
  return weights;
}

}  // namespace

Reply get_checkpoints(Exchange& exchange) {
  const auto list = exchange.server.platform.checkpoints().list(exchange.name);
  if (!list) return exchange.error_reply(list.error());
  json::array data;
  for (const control::CheckpointView& view : *list)
    data.emplace_back(checkpoint_object(exchange.name, view));
  return json_reply(200,
                    json::serialize(json::object{{"object", "list"}, {"data", std::move(data)}}));
}

Reply save_checkpoint(Exchange& exchange) {
  if (!exchange.server.platform.function(exchange.name)) return no_function(exchange);
  const Result<json::object> body = body_of(exchange);
  if (!body) return exchange.error_reply(body.error());
  const Result<std::optional<int>> step = wanted_step(*body);
  if (!step) return exchange.error_reply(step.error());
  const auto saved = exchange.server.platform.checkpoints().save(exchange.name, *step);
  if (!saved) return exchange.error_reply(saved.error());
  return json_reply(200, json::serialize(checkpoint_object(exchange.name, *saved)));
}

Reply activate_checkpoint(Exchange& exchange) {
  if (!exchange.server.platform.function(exchange.name)) return no_function(exchange);
  const Result<int> step = step_of(exchange);
  if (!step) return exchange.error_reply(step.error());
  return traffic_reply(exchange,
                       exchange.server.platform.checkpoints().activate(exchange.name, *step));
}

Reply delete_checkpoint(Exchange& exchange) {
  if (!exchange.server.platform.function(exchange.name)) return no_function(exchange);
  const Result<int> step = step_of(exchange);
  if (!step) return exchange.error_reply(step.error());
  const auto removed = exchange.server.platform.checkpoints().remove(exchange.name, *step);
  if (!removed) return exchange.error_reply(removed.error());
  return json_reply(204, "");
}

Reply put_traffic(Exchange& exchange) {
  if (!exchange.server.platform.function(exchange.name)) return no_function(exchange);
  const Result<json::object> body = body_of(exchange);
  if (!body) return exchange.error_reply(body.error());
  const Result<std::vector<domain::StepWeight>> weights = weights_of(*body);
  if (!weights) return exchange.error_reply(weights.error());
  return traffic_reply(exchange,
                       exchange.server.platform.checkpoints().set_traffic(exchange.name, *weights));
}

Reply roll_back(Exchange& exchange) {
  if (!exchange.server.platform.function(exchange.name)) return no_function(exchange);
  return traffic_reply(exchange, exchange.server.platform.checkpoints().roll_back(exchange.name));
}

}  // namespace glowplug::gateway
