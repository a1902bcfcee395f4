// Holds in the brain: what is made ready ahead of calls and kept, because a manifest or somebody
// says so. Nothing is evicted for it, and it gives way to calls after all that is not held.
#include <algorithm>

#include <fmt/format.h>

#include "base/units.h"
#include "control/brain.h"
#include "policy/schedule.h"
#include "policy/templates.h"

namespace glowplug::control {

policy::Scheduled Brain::scheduled(const Generation& generation) const {
  return policy::scheduled_at(generation.manifest.schedule, wall_);
}

int Brain::held_replicas(const Function& function, const Generation& generation) const {
  return std::max(generation.manifest.scale.min, held_warm(function, generation));
}

// What a `warm` holds is held of the heaviest generation, one of each other.
int Brain::held_warm(const Function& function, const Generation& generation) const {
  const bool warm = function.warm_until && *function.warm_until > now_;
  const int asked =
      &generation == &function.current ? function.warm_count : std::min(1, function.warm_count);
  return std::max(warm ? asked : 0, scheduled(generation).replicas);
}

bool Brain::holds_template(const Function& function, const Generation& generation) const {
  if (!policy::uses_template(generation.manifest)) return false;
  const bool asked = function.template_until && *function.template_until > now_;
  return asked || generation.manifest.scale.min_template > 0 || scheduled(generation).has_template;
}

bool Brain::is_held(const Template& held) const {
  bool found = false;
  for (const FunctionEntry* entry : holding_)
    each_serving(entry->second, [&, &function = entry->second](const Generation& generation) {
      found |= !held.learned && holds_template(function, generation) && may_use(held, generation);
    });
  return found;
}

void Brain::on(const PreloadWanted& event) {
  Function* function = find(event.function);
  if (function == nullptr) return;
  decide(event.function, "preload",
         fmt::format("to {} for {}", to_string(event.tier),
                     event.hold == kForever ? "ever" : format_duration(event.hold)));
  const Time until = end_of(event.hold);
  if (event.tier == domain::Tier::Template) function->template_until = until;
  if (event.tier == domain::Tier::Replica) {
    function->warm_count = std::max(1, function->warm_count);
    function->warm_until = std::max(until, function->warm_until.value_or(until));
  }
  each_serving(*function, [&](Generation& generation) {
    generation.failure.reset();
    generation.failures = 0;
    generation.read_wanted |= event.tier == domain::Tier::Memory;
    const bool is_there =
        generation.model == Model::Prepared || generation.model == Model::Preparing;
    if (!is_there) ensure_started(event.function, *function, generation);
  });
}

void Brain::on(const TemplatesRecalled& event) {
  recalled_.assign(event.functions.begin(), event.functions.end());
}

// In their order, the next once the last has loaded: the most valuable is there first.
void Brain::recall_templates() {
  while (!recalled_.empty() && !is_computing() && !turn_.short_of_room) {
    for (const auto& [id, held] : templates_)
      if (held.state == domain::State::Loading) return;
    const Function* function = find(recalled_.front());
    if (function != nullptr && function->current.model == Model::Preparing) return;
    const std::string name = recalled_.front();
    recalled_.pop_front();
    if (function == nullptr || !may_fork(function->current) ||
        template_of(function->current) != nullptr)
      continue;
    std::uint64_t all = template_bytes(function->current);
    for (const auto& [id, held] : templates_) all += held.bytes;
    const std::uint64_t bytes = loading_bytes(function->current);
    if (all <= options_.template_bytes && reserved_bytes() + bytes <= options_.memory_bytes)
      load_template(name, function->current, bytes);
  }
}

void Brain::hold_ahead() {
  if (draining_) return;
  for (FunctionEntry* entry : stirring_) {
    auto& [name, function] = *entry;
    each_serving(function, [&, &name = name, &function = function](Generation& generation) {
      if (generation.read_wanted && generation.model == Model::Prepared) {
        generation.read_wanted = false;
        effects_.list.push_back(ReadModel{name, generation.facts});
      }
      if (holds_template(function, generation)) hold_template(name, function, generation);
    });
  }
  recall_templates();
}

void Brain::hold_template(const std::string& name, Function& function, Generation& generation) {
  if (cannot_start(generation) || generation.model == Model::Preparing || turn_.short_of_room)
    return;
  if (generation.model != Model::Prepared) return ensure_started(name, function, generation);
  if (!may_fork(generation) || template_of(generation) != nullptr ||
      held_bytes_with(generation) > options_.template_bytes)
    return;
  const std::uint64_t bytes = loading_bytes(generation);
  if (reserved_bytes() + bytes <= options_.memory_bytes) load_template(name, generation, bytes);
}

// Of all templates that are held, with one for this generation.
std::uint64_t Brain::held_bytes_with(const Generation& generation) const {
  std::uint64_t held = template_bytes(generation);
  for (const auto& [id, other] : templates_)
    if (is_held(other)) held += other.bytes;
  return held;
}

// Why a template that should be held is not.
std::string Brain::hold_fault(const Function& function) const {
  const Generation& generation = function.current;
  if (!holds_template(function, generation) || generation.model != Model::Prepared ||
      template_of(generation) != nullptr)
    return {};
  const std::uint64_t held = held_bytes_with(generation);
  if (held <= options_.template_bytes) return {};
  return fmt::format("its template is not held: with it {} would be, and {} may be",
                     format_bytes(held), format_bytes(options_.template_bytes));
}

bool Brain::holds_anything(const Function& function) const {
  bool holds = (function.warm_until && *function.warm_until > now_) ||
               (function.template_until && *function.template_until > now_);
  each_serving(function, [&holds](const Generation& generation) {
    const domain::Manifest& manifest = generation.manifest;
    holds |=
        manifest.scale.min > 0 || manifest.scale.min_template > 0 || !manifest.schedule.empty();
  });
  return holds;
}

bool Brain::lacks_what_it_holds(const FunctionEntry& entry) const {
  const auto& [name, function] = entry;
  bool lacks = false;
  each_serving(function, [&, &name = name, &function = function](const Generation& generation) {
    const int held =
        std::min(held_replicas(function, generation), std::max(1, generation.manifest.scale.max));
    lacks |= live_replicas(name, generation.revision) < held ||
             awake_replicas(name, generation.revision) <
                 std::max(held_warm(function, generation), ahead_of_calls(generation)) ||
             (holds_template(function, generation) && template_of(generation) == nullptr);
  });
  return lacks;
}

std::vector<HoldView> Brain::holds_of(const Function& function) const {
  using domain::Tier;
  std::vector<HoldView> holds;
  const domain::Scale& scale = function.current.manifest.scale;
  const policy::Scheduled hours = scheduled(function.current);
  if (scale.min > 0) holds.push_back({"scale", Tier::Replica, scale.min, {}});
  if (scale.min_template > 0) holds.push_back({"scale", Tier::Template, 1, {}});
  if (hours.replicas > 0) holds.push_back({"schedule", Tier::Replica, hours.replicas, {}});
  if (hours.has_template) holds.push_back({"schedule", Tier::Template, 1, {}});
  if (function.warm_until && *function.warm_until > now_ && function.warm_count > 0)
    holds.push_back({"warm", Tier::Replica, function.warm_count, *function.warm_until});
  if (function.template_until && *function.template_until > now_)
    holds.push_back({"preload", Tier::Template, 1, *function.template_until});
  return holds;
}

}  // namespace glowplug::control
