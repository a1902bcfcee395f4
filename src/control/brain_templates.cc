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
constexpr Duration kPrimeAgainAfter = std::chrono::minutes(1);

}  // namespace

Brain::TemplateEntry* Brain::template_of(const Generation& generation) {
  for (TemplateEntry& entry : templates_)
    if (!entry.second.is_primed() && may_use(entry.second, generation)) return &entry;
  return nullptr;
}

const Brain::TemplateEntry* Brain::template_of(const Generation& generation) const {
  return const_cast<Brain*>(this)->template_of(generation);
}

Brain::TemplateEntry* Brain::primed_of(const Generation& generation) {
  for (TemplateEntry& entry : templates_)
    if (entry.second.is_primed() && !entry.second.learned && may_use(entry.second, generation))
      return &entry;
  return nullptr;
}

const Brain::TemplateEntry* Brain::primed_of(const Generation& generation) const {
  return const_cast<Brain*>(this)->primed_of(generation);
}

Brain::TemplateEntry* Brain::origin_of(const Generation& generation) {
  TemplateEntry* primed = primed_of(generation);
  const bool ready = primed != nullptr && primed->second.state == domain::State::Ready;
  return ready ? primed : template_of(generation);
}

const Brain::TemplateEntry* Brain::origin_of(const Generation& generation) const {
  return const_cast<Brain*>(this)->origin_of(generation);
}

bool Brain::is_origin(TemplateEntry& entry) {
  Template& held = entry.second;
  if (held.is_no_origin_at == deployments_) return false;
  const bool found = anybody(entry, [this, &entry](const Function& function) {
    bool forks_from_it = false;
    each_serving(function, [&](const Generation& generation) {
      forks_from_it |= may_fork(generation) && origin_of(generation) == &entry;
    });
    return forks_from_it;
  });
  if (!found) held.is_no_origin_at = deployments_;
  return found;
}

bool Brain::may_fork(const Generation& generation) const {
  return generation.model == Model::Prepared && !generation.forks_fail &&
         policy::uses_template(generation.manifest) && !is_on_accelerator(generation) &&
         template_bytes(generation) <= options_.template_bytes;
}

// True when the function's replica comes, or will come, from a template; false leaves it to a start
// of its own.
bool Brain::fork_or_load(const std::string& name, const Generation& generation) {
  if (!may_fork(generation)) return false;
  if (fork_with_learned(name, generation)) return true;
  const std::uint64_t forked = forked_bytes(generation);
  TemplateEntry* entry = origin_of(generation);
  if (entry != nullptr && entry->second.is_primed() && !fits_beside(entry->second, generation)) {
    drop_template(*entry, "a replica does not fit beside it");
    entry = template_of(generation);
  }
  if (entry == nullptr) {
    const std::uint64_t bytes = loading_bytes(generation);
    if (bytes > options_.memory_bytes) return false;
    if (make_room(name, generation, bytes)) load_template(name, generation, bytes);
    return true;
  }
  if (entry->second.state == domain::State::Ready &&
      entry->second.bytes + forked > options_.memory_bytes)
    return false;
  if (entry->second.state != domain::State::Ready) return true;  // it waits
  if (hand_over(name, generation, *entry)) return true;
  if (make_room(name, generation, forked, entry->first))
    start_replica(name, generation, forked, entry);
  return true;
}

// Whether memory can hold a primed template, its base and a replica: what is primed stays while
// calls of its functions wait, and these would for ever.
bool Brain::fits_beside(const Template& primed, const Generation& generation) const {
  const auto base = templates_.find(*primed.base);
  const std::uint64_t base_bytes = base == templates_.end() ? 0 : base->second.bytes;
  return base_bytes + primed.bytes + forked_bytes(generation) <= options_.memory_bytes;
}

void Brain::load_template(const std::string& name, const Generation& generation,
                          std::uint64_t bytes) {
  const domain::ProcessId id{++last_process_};
  domain::Manifest manifest = generation.manifest;
  manifest.resources = {};  // one function's limits bind neither the template nor its spares
  manifest.prime.clear();
  decide(name, "load", fmt::format("template {}: {} reserved", id.value, format_bytes(bytes)));
  Template loading;
  loading.manifest = std::move(manifest);
  loading.facts = generation.facts;
  loading.bytes = bytes;
  loading.account = accounts_of(generation).held;
  loading.last_used = now_;
  loading.visits = functions_.at(name).visits;
  start_template(id, std::move(loading), generation.revision);
}

void Brain::start_template(domain::ProcessId id, Template made, int revision) {
  made.started = now_;
  // What was learned to be less does not tighten the kernel's limit.
  const std::uint64_t expected =
      made.account.need.estimate +
      (made.base ? 0 : policy::estimate_forked_bytes({made.manifest, made.facts}));
  const policy::ProcessLimits limits =
      policy::limits_of(std::max(made.bytes, expected), made.manifest, made.facts, options_.cores);
  effects_.list.push_back(StartProcess{.process = id,
                                       .role = Role::Template,
                                       .manifest = made.manifest,
                                       .revision = revision,
                                       .facts = made.facts,
                                       .limits = limits,
                                       .threads = options_.cores,
                                       .cores = options_.cores,
                                       .from = made.base,
                                       .prime = made.learned ? made.learned->tokens : nullptr});
  reserved_.reset();
  templates_.emplace(id, std::move(made));
}

void Brain::template_ready(TemplateEntry& entry) {
  Template& ready = entry.second;
  if (ready.state != domain::State::Loading) return;
  ready.state = domain::State::Ready;
  if (!ready.is_primed()) ready.bytes = reservation_of(ready.account);
  ready.progress = 1;
  ready.ready = now_;
  ready.last_used = now_;
  for (FunctionEntry& deployed : functions_)
    each_serving(deployed.second, [&](const Generation& generation) {
      const bool has_primes = !generation.manifest.prime.empty() || !generation.learned.empty();
      if (!has_primes || !may_use(ready, generation)) return;
      stir(deployed);
      if (ready.is_primed()) deployed.second.note.clear();
    });
  decide(ready.manifest.name, "template",
         fmt::format("template {} ready after {}{}", entry.first.value,
                     format_duration(now_ - ready.started),
                     ready.learned ? ", primed with what was learned"
                     : ready.is_primed()
                         ? fmt::format(", primed with {} prompts", ready.manifest.prime.size())
                         : ""));
}

// Beside the answers of whoever has called already: they come from the base meanwhile.
void Brain::prime_templates() {
  if (draining_ || turn_.short_of_room || is_computing()) return;
  for (const FunctionEntry* entry : stirring_) {
    const auto& [name, function] = *entry;
    each_serving(function, [&, &name = name, &function = function](const Generation& generation) {
      const bool wanted = function.calls > 0 || holds_template(function, generation);
      if (wanted && now_ >= generation.prime_not_before && may_fork(generation)) {
        if (!generation.manifest.prime.empty()) prime(name, generation);
        prime_learned(name, generation);
      }
    });
  }
}

void Brain::prime(const std::string& name, const Generation& generation) {
  if (primed_of(generation) != nullptr) return;
  Template primed;
  primed.manifest.prime = generation.manifest.prime;
  primed.account.need = policy::primed_need({generation.manifest, generation.facts});
  const std::size_t count = generation.manifest.prime.size();
  fork_template(name, generation, std::move(primed), fmt::format("{} prompts", count));
}

// Within the budget of templates, and where nothing has to go for it.
void Brain::fork_template(const std::string& name, const Generation& generation, Template primed,
                          const std::string& with) {
  const TemplateEntry* base = template_of(generation);
  if (base == nullptr || base->second.state != domain::State::Ready) return;
  const std::uint64_t bytes = primed.account.need.estimate;
  primed.base = base->first;
  primed.bytes = bytes;
  if (base->second.bytes + bytes > options_.template_bytes ||
      reserved_bytes() + bytes > options_.memory_bytes || !fits_beside(primed, generation))
    return;
  std::vector<std::string> primes = std::move(primed.manifest.prime);
  primed.manifest = base->second.manifest;
  primed.manifest.name = name;
  primed.manifest.prime = std::move(primes);
  primed.facts = generation.facts;
  primed.last_used = base->second.last_used;
  primed.visits = functions_.at(name).visits;
  const domain::ProcessId id{++last_process_};
  decide(name, "prime",
         fmt::format("template {} from template {}: {}, {} reserved", id.value, base->first.value,
                     with, format_bytes(bytes)));
  start_template(id, std::move(primed), generation.revision);
}

// Nobody waits for it: replicas come from the base, and after a while it is tried again.
void Brain::primed_gone(const Template& gone, const std::string& cause) {
  for (FunctionEntry& deployed : functions_) {
    Function& function = deployed.second;
    each_generation(function, [&](Generation& generation) {
      if (!may_use(gone, generation)) return;
      stir(deployed);
      generation.prime_not_before = now_ + kPrimeAgainAfter;
      if (gone.state == domain::State::Loading && !gone.learned)
        function.note = fmt::format("its prompts are not primed: {}", cause);
    });
  }
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
  stir_holding();
  if (!inherit(event.process, gone.bytes) && gone.account.inherited > 0)
    inherit(*gone.base, gone.account.inherited);
  if (gone.is_primed()) return primed_gone(gone, event.cause);
  if (gone.state != domain::State::Loading) return;
  for (auto& [name, function] : functions_) {
    const Error error{std::string(domain::error::kFunctionFailed),
                      fmt::format("`{}` does not start: {}", name, event.cause), ""};
    std::vector<int> waiting;  // failing one may take others away
    each_generation(function, [&](const Generation& generation) {
      const bool wants =
          coming_generation(function, generation.revision) ||
          holds_template(function, generation) || grows(generation) ||
          unserved(name, generation).beside ||
          wanted_replicas(name, function, generation) > live_replicas(name, generation.revision);
      if (wants && may_fork(generation) &&
          policy::same_template({generation.manifest, generation.facts},
                                {gone.manifest, gone.facts}))
        waiting.push_back(generation.revision);
    });
    for (const int revision : waiting) {
      Generation* generation = generation_of(name, revision);
      if (generation != nullptr && !tries_again(name, *generation, event.ending))
        fail(name, function, *generation, error);
    }
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
  stir_holding();
  effects_.list.push_back(KillProcess{entry.first});
}

// After a function is gone or has changed.
void Brain::drop_unused_templates() {
  for (TemplateEntry& entry : templates_) {
    const bool used = anybody(entry, [&entry](const Function& function) {
      bool uses = false;
      each_generation(function, [&](const Generation& one) { uses |= may_use(entry.second, one); });
      return uses;
    });
    if (!used) drop_template(entry, "no function uses it");
  }
}

// A call waits for room to fork from them.
const std::set<domain::ProcessId>& Brain::awaited_templates() const {
  return known(memos_.awaited, [this] {
    std::vector<const Generation*> forking;
    for (const FunctionEntry* entry : stirring_)
      each_serving(entry->second, [&](const Generation& generation) {
        const auto& waiting = entry->second.waiting;
        const bool is_called = std::any_of(
            waiting.begin(), waiting.end(),
            [&generation](const Waiting& one) { return one.revision == generation.revision; });
        if (is_called && may_fork(generation)) forking.push_back(&generation);
      });
    std::set<domain::ProcessId> awaited;
    for (const auto& [id, held] : templates_)
      if (std::any_of(forking.begin(), forking.end(),
                      [&held = held](const auto* one) { return may_use(held, *one); }))
        awaited.insert(id);
    return awaited;
  });
}

}  // namespace glowplug::control
