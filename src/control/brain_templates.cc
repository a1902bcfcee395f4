// Templates in the brain: when one is loaded, who is forked from it, when it goes.
#include <algorithm>

#include <fmt/format.h>

#include "base/units.h"
#include "control/brain.h"
#include "domain/errors.h"
#include "policy/templates.h"

namespace glowplug::control {
namespace {

// Forks share their template's memory layout and whatever is wrong with it.
constexpr int kChildDeathsMax = 3;

}  // namespace

Brain::TemplateEntry* Brain::template_of(const Generation& generation) {
  const policy::TemplateSource wanted{generation.manifest, generation.facts};
  for (TemplateEntry& entry : templates_)
    if (policy::same_template({entry.second.manifest, entry.second.facts}, wanted)) return &entry;
  return nullptr;
}

const Brain::TemplateEntry* Brain::template_of(const Generation& generation) const {
  return const_cast<Brain*>(this)->template_of(generation);
}

bool Brain::may_fork(const Function& function, const Generation& generation) const {
  return generation.model == Model::Prepared && !function.forks_fail &&
         policy::uses_template(generation.manifest) &&
         policy::estimate_template_bytes({generation.manifest, generation.facts}) <=
             options_.template_bytes;
}

// True when the function's replica comes, or will come, from a template; false leaves it to a start
// of its own.
bool Brain::fork_or_load(const std::string& name, Function& function,
                         const Generation& generation) {
  if (!may_fork(function, generation)) return false;
  const policy::TemplateSource source{generation.manifest, generation.facts};
  const std::uint64_t forked = policy::estimate_forked_bytes(source);
  TemplateEntry* entry = template_of(generation);
  if (entry == nullptr) {
    const std::uint64_t bytes = policy::estimate_loading_bytes(source);
    if (bytes > options_.memory_bytes) return false;
    if (make_room(name, function, bytes)) load_template(name, generation, bytes);
    return true;
  }
  if (entry->second.state == domain::State::Ready &&
      entry->second.bytes + forked > options_.memory_bytes)
    return false;
  if (entry->second.state != domain::State::Ready) return true;  // it waits
  if (hand_over(name, generation, *entry)) return true;
  if (make_room(name, function, forked, entry->first))
    start_replica(name, generation, forked, entry);
  return true;
}

void Brain::load_template(const std::string& name, const Generation& generation,
                          std::uint64_t bytes) {
  const domain::ProcessId id{++last_process_};
  domain::Manifest manifest = generation.manifest;
  manifest.resources = {};  // one function's limits bind neither the template nor its spares
  decide(name, "load", fmt::format("template {}: {} reserved", id.value, format_bytes(bytes)));
  effects_.list.push_back(
      StartProcess{.process = id,
                   .role = Role::Template,
                   .manifest = manifest,
                   .revision = generation.revision,
                   .facts = generation.facts,
                   .limits = policy::limits_of(bytes, manifest, generation.facts, options_.cores),
                   .threads = options_.cores});
  Template loading;
  loading.manifest = std::move(manifest);
  loading.facts = generation.facts;
  loading.bytes = bytes;
  loading.started = now_;
  loading.last_used = now_;
  templates_.emplace(id, std::move(loading));
}

void Brain::template_ready(TemplateEntry& entry) {
  Template& ready = entry.second;
  if (ready.state != domain::State::Loading) return;
  ready.state = domain::State::Ready;
  ready.bytes = policy::estimate_template_bytes({ready.manifest, ready.facts});
  ready.progress = 1;
  ready.ready = now_;
  ready.last_used = now_;
  decide(ready.manifest.name, "template",
         fmt::format("template {} ready after {}", entry.first.value,
                     format_duration(now_ - ready.started)));
}

// A load that failed fails everybody who waits for it. One that dies later takes nothing with it:
// its replicas are the server's children, and the next start loads it anew.
void Brain::template_gone(const ProcessGone& event) {
  const auto found = templates_.find(event.process);
  const Template gone = std::move(found->second);
  templates_.erase(found);
  decide(
      gone.manifest.name, "gone",
      fmt::format("template {} ({}): {}", event.process.value, to_string(gone.state), event.cause));
  stop_spares(event.process, "its template is gone");
  if (gone.state != domain::State::Loading) return;
  for (auto& [name, function] : functions_) {
    const Error error{std::string(domain::error::kFunctionFailed),
                      fmt::format("`{}` does not start: {}", name, event.cause), ""};
    const auto waits = [this, &gone, &function](const Generation& generation) {
      return may_fork(function, generation) &&
             policy::same_template({generation.manifest, generation.facts},
                                   {gone.manifest, gone.facts});
    };
    const bool next = function.next && waits(*function.next);
    const bool current =
        waits(function.current) &&
        wanted_replicas(name, function) > live_replicas(name, function.current.revision);
    if ((!next && !current) || tries_again(name, function, event.ending)) continue;
    if (next) fail(name, function, *function.next, error);
    if (current) fail(name, function, function.current, error);
  }
}

// A replica that was forked has ended. Deaths by itself count, one after the other; what the kernel
// kills is over a limit of its own.
void Brain::note_child_end(const Replica& replica, Ending ending) {
  const auto found = replica.from ? templates_.find(*replica.from) : templates_.end();
  if (found == templates_.end()) return;
  if (ending == Ending::Asked && replica.state == domain::State::Draining)
    found->second.child_deaths = 0;
  if (ending != Ending::Itself || ++found->second.child_deaths < kChildDeathsMax) return;
  drop_template(*found, fmt::format("{} of its replicas died", found->second.child_deaths));
}

void Brain::drop_template(TemplateEntry& entry, const std::string& reason) {
  if (entry.second.state == domain::State::Draining) return;
  entry.second.state = domain::State::Draining;
  decide(entry.second.manifest.name, "drop",
         fmt::format("template {}: {}", entry.first.value, reason));
  stop_spares(entry.first, "its template goes");
  effects_.list.push_back(KillProcess{entry.first});
}

// After a function is gone or has changed.
void Brain::drop_unused_templates() {
  for (TemplateEntry& entry : templates_) {
    const policy::TemplateSource held{entry.second.manifest, entry.second.facts};
    const auto uses = [&held](const Generation& generation) {
      return policy::uses_template(generation.manifest) &&
             policy::same_template({generation.manifest, generation.facts}, held);
    };
    const bool used = std::any_of(functions_.begin(), functions_.end(), [&uses](const auto& one) {
      return uses(one.second.current) || (one.second.next && uses(*one.second.next));
    });
    if (!used) drop_template(entry, "no function uses it");
  }
}

// Those that nothing but the hope of a next call keeps.
std::vector<policy::IdleTemplate> Brain::idle_templates(Idle idle) const {
  std::vector<policy::IdleTemplate> found;
  for (const auto& [id, held] : templates_) {
    if (held.state != domain::State::Ready || is_awaited(held)) continue;
    const bool busy =
        std::any_of(replicas_.begin(), replicas_.end(), [id = id, idle](const ReplicaEntry& entry) {
          const Replica& replica = entry.second;
          if (replica.from != id || replica.is_spare()) return false;
          return idle == Idle::NoReplica || replica.in_flight > 0 ||
                 replica.state == domain::State::Loading;
        });
    if (!busy) found.push_back({id, held.bytes, held.ready - held.started, held.last_used});
  }
  return found;
}

// A call waits for room to fork from it.
bool Brain::is_awaited(const Template& held) const {
  return std::any_of(functions_.begin(), functions_.end(), [this, &held](const auto& one) {
    const Function& function = one.second;
    return !function.waiting.empty() && may_fork(function, function.current) &&
           policy::same_template({function.current.manifest, function.current.facts},
                                 {held.manifest, held.facts});
  });
}

void Brain::keep_templates_within_budget() {
  const std::vector<policy::IdleTemplate> idle = idle_templates(Idle::NoReplica);
  std::uint64_t held = 0;
  for (const policy::IdleTemplate& one : idle) held += one.bytes;
  for (const domain::ProcessId id : policy::eviction_order(idle, now_)) {
    if (held <= options_.template_bytes) return;
    TemplateEntry& entry = *templates_.find(id);
    held -= entry.second.bytes;
    drop_template(entry,
                  fmt::format("idle templates may hold {}", format_bytes(options_.template_bytes)));
  }
}

}  // namespace glowplug::control
