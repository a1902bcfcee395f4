#include "simulate/world.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/result.h"
#include "domain/limits.h"
#include "simulate/seconds.h"

namespace glowplug::simulate {
namespace {

constexpr Time kBeginning{std::chrono::seconds(1000)};
// A brain that wants to be woken at once, again and again, gets a millisecond in between.
constexpr int kWakesAtOnceMax = 1000;

}  // namespace

control::BrainOptions brain_options(const WorldModel& model) {
  const Machine& machine = model.machine;
  return {.memory_bytes = machine.memory_bytes,
          .template_bytes = machine.template_bytes,
          .spares = machine.spares,
          .cores = machine.cores,
          .scale_speed = machine.scale_speed,
          .accelerators = machine.devices,
          .engine_on_gpu = !machine.devices.empty(),
          .prices = prices_of(model),
          .budget_per_hour = machine.budget_per_hour};
}

World::World(WorldModel model, WorldOptions options, Controller& controller)
    : model_(std::move(model)),
      options_(std::move(options)),
      controller_(controller),
      random_(options.seed),
      fleet_(domain::each_alone(model_.machine.devices)),
      on_devices_(fleet_.size()),
      here_(model_.machine.cores),
      beside_(std::numeric_limits<int>::max()),
      page_cache_(model_.machine.page_cache_bytes),
      now_(kBeginning) {
  here_.begin(now_);
  beside_.begin(now_);
}

std::uint32_t World::deploy(const std::string& name) { return deploy(manifest_of(model_, name)); }

std::uint32_t World::deploy(const domain::Manifest& manifest) {
  const auto [known, fresh] =
      by_name_.emplace(manifest.name, static_cast<std::uint32_t>(functions_.size()));
  if (fresh) {
    functions_.push_back({.name = manifest.name,
                          .manifest = {},
                          .facts = facts_of(model_, manifest.name),
                          .profile = &profile_of(model_, manifest.name)});
    page_cache_.use(functions_.back().facts.path, functions_.back().facts.file_bytes);
  }
  Function& function = functions_.at(known->second);
  function.manifest = manifest;
  function.revision = ++function.last_revision;
  post(control::FunctionPut{manifest, function.revision});
  return known->second;
}

std::optional<std::uint32_t> World::find(const std::string& name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? std::nullopt : std::optional(found->second);
}

void World::split(std::uint32_t number, const domain::Manifest& other, int weight) {
  GLOWPLUG_ASSERT(weight > 0 && weight <= 50);
  Function& function = functions_.at(number);
  post(control::TrafficSet{.function = function.name,
                           .served = {{function.manifest, function.revision, 100 - weight},
                                      {other, ++function.last_revision, weight}}});
}

void World::arrive(const Request& request) {
  Function& function = functions_.at(request.function);
  const domain::CallId id{++last_call_};
  Call call;
  call.result = {.call = id,
                 .function = request.function,
                 .prompt_tokens = std::max(1, request.prompt_tokens),
                 .output_tokens = std::max(1, request.output_tokens),
                 .arrived = now_};
  CallResult& result = call.result;
  const int context = std::max(2, function.manifest.context);
  if (result.prompt_tokens + result.output_tokens > context) {
    result.clamped = true;
    result.output_tokens = std::min(result.output_tokens, context / 2);
    result.prompt_tokens = std::min(result.prompt_tokens, context - result.output_tokens);
  }
  call.kills = function.poison > 0;
  function.poison -= call.kills ? 1 : 0;
  call.domain.tenant = request.tenant == 0 ? "" : "t" + std::to_string(request.tenant);
  calls_.push_back(call);
  ++open_;
  if (options_.leave_chance > 0 && random_.chance(options_.leave_chance))
    at(from_seconds(random_.exponential(to_seconds(options_.patience))),
       {Happening::What::Leave, id.value});
  arrive(id, call, std::nullopt);
}

void World::post_at(Time when, control::Event event) {
  const std::uint64_t id = ++last_post_;
  posts_.emplace(id, std::move(event));
  timeline_.put(std::max(when, now_), {Happening::What::Post, id});
}

void World::do_at(Time when, std::function<void()> act) {
  const std::uint64_t id = ++last_post_;
  acts_.emplace(id, std::move(act));
  timeline_.put(std::max(when, now_), {Happening::What::Do, id});
}

// What is news of processes and calls may be late, lost or doubled; the brain then learns of it in
// another way, or not at all.
void World::tell(control::Event event) {
  const bool may_be_lost = std::holds_alternative<control::MemoryMeasured>(event) ||
                           std::holds_alternative<control::ModelResidency>(event) ||
                           std::holds_alternative<control::ProcessReady>(event);
  if (post_.doubled > 0 && random_.chance(post_.doubled))
    for (int i = 0; i < post_.copies; ++i)
      post_at(now_ + (random_.below(2) == 0 ? Duration(0) : shaken(post_.late_by)), event);
  if (may_be_lost && post_.lost > 0 && random_.chance(post_.lost)) {
    if (const auto* ready = std::get_if<control::ProcessReady>(&event))
      await_in_vain(ready->process);
    return;
  }
  if (post_.late > 0 && random_.chance(post_.late))
    return post_at(now_ + from_seconds(random_.exponential(to_seconds(post_.late_by))),
                   std::move(event));
  post(std::move(event));
}

void World::post(control::Event event) {
  events_.push_back(std::move(event));
  if (handling_) return;
  handling_ = true;
  while (!events_.empty()) turn_of_brain();
  handling_ = false;
}

void World::turn_of_brain() {
  const control::Event event = std::move(events_.front());
  events_.pop_front();
  const control::Effects effects = controller_.handle(event, now_, wall());
  bool reserves = std::holds_alternative<control::ProcessReady>(event) ||
                  std::holds_alternative<control::ProcessGone>(event) ||
                  std::holds_alternative<control::MemoryMeasured>(event) ||
                  std::holds_alternative<control::MemorySetAside>(event);
  for (const control::Effect& effect : effects.list)
    reserves |= std::holds_alternative<control::StartProcess>(effect);
  if (reserves) reserved_ = controller_.brain().reserved_bytes();
  wake_at_ = effects.wake_at;
  const Turn turn{.event = event,
                  .effects = effects,
                  .now = now_,
                  .wall = wall(),
                  .brain = controller_.brain(),
                  .reserved_bytes = reserved_,
                  .held_bytes = memory_.total(),
                  .outgrown_bytes = outgrown_ + unforeseen_,
                  .devices = on_devices_};
  for (Observer* observer : observers_) observer->turned(turn);
  for (const control::Effect& effect : effects.list)
    std::visit([this](const auto& one) { carry_out(one); }, effect);
}

WallTime World::wall() const {
  return options_.wall + wall_offset_ +
         std::chrono::floor<std::chrono::milliseconds>(now_ - kBeginning);
}

Duration World::shaken(Duration typical) {
  if (model_.starts.jitter <= 0 || typical <= Duration(0)) return typical;
  return from_seconds(random_.lognormal(to_seconds(typical), model_.starts.jitter));
}

std::optional<Time> World::next() {
  std::optional<Time> soonest = timeline_.next();
  for (const std::optional<Time>& at : {here_.next(), beside_.next(), measure_at_, wake_at_})
    if (at && (!soonest || *at < *soonest)) soonest = at;
  return soonest ? std::optional(std::max(*soonest, now_)) : std::nullopt;
}

void World::run_until(Time until) {
  for (std::optional<Time> at = next(); at && *at <= until; at = next()) {
    wakes_at_once_ = *at > now_ ? 0 : wakes_at_once_;
    now_ = *at;
    if (const auto due = timeline_.next(); due && *due <= now_) {
      happen(timeline_.take());
    } else if (const auto done_here = here_.take(now_)) {
      happen(*done_here);
    } else if (const auto done_beside = beside_.take(now_)) {
      happen(*done_beside);
    } else if (measure_at_ && *measure_at_ <= now_) {
      measure();
    } else if (wake_at_ && *wake_at_ <= now_) {
      if (++wakes_at_once_ > kWakesAtOnceMax) now_ += std::chrono::milliseconds(1);
      post(control::Tick{});
    }
  }
  now_ = std::max(now_, until);
}

void World::happen(const Compute::Happening& happening) {
  switch (happening.due) {
    case Compute::Due::Loaded: return loaded(happening.process);
    case Compute::Due::FirstToken: return first_token(happening.call);
    case Compute::Due::Done: return finish(happening.call, CallOutcome::Answered);
  }
}

void World::happen(const Happening& happening) {
  using What = Happening::What;
  const domain::ProcessId process{happening.id};
  switch (happening.what) {
    case What::Leave: return leave(domain::CallId{happening.id});
    case What::TimeOut: return time_out(static_cast<std::uint32_t>(happening.id));
    case What::Kill: return kill_by(domain::CallId{happening.id});
    case What::Post: {
      const auto posted = posts_.extract(happening.id);
      return post(std::move(posted.mapped()));
    }
    case What::Do: return acts_.extract(happening.id).mapped()();
    default: break;
  }
  const auto found = processes_.find(process);
  if (found == processes_.end()) return;
  if (happening.what == What::GoOn) return compute_of(found->second).go_on(process, now_);
  if (found->second.turn != happening.turn) return;  // something else came of it since
  switch (happening.what) {
    case What::Load: return load(process, found->second);
    case What::Ready: return loaded(process);
    case What::Fail: return gone(process, "it ended while it loaded", control::Ending::Itself);
    case What::Gone: return gone(process, "stopped", control::Ending::Asked);
    case What::InVain: return gone(process, "no word from it", control::Ending::Itself);
    case What::Asleep: return tell(control::ReplicaAsleep{process});
    case What::Awake: return tell(control::ReplicaAwake{process});
    default: return;
  }
}

}  // namespace glowplug::simulate
