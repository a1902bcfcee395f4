// Look-ups and copies for status pages; nothing here changes the brain.
#include <algorithm>
#include <utility>

#include "control/brain.h"

namespace glowplug::control {

Brain::Function* Brain::find(const std::string& name) {
  const auto found = functions_.find(name);
  if (found == functions_.end()) return nullptr;
  stir(*found);
  return &found->second;
}

Brain::Generation* Brain::generation_of(const std::string& name, int revision) {
  if (find(name) == nullptr) return nullptr;
  return const_cast<Generation*>(std::as_const(*this).generation_of(name, revision));
}

const Brain::Generation* Brain::generation_of(const std::string& name, int revision) const {
  const auto found = functions_.find(name);
  if (found == functions_.end()) return nullptr;
  const Generation* served = serving_generation(found->second, revision);
  return served != nullptr ? served : coming_generation(found->second, revision);
}

const std::vector<Brain::ReplicaEntry*>& Brain::replicas_of(const std::string& name) const {
  static const std::vector<ReplicaEntry*> none;
  if (listed_ != nullptr && listed_->first == name)
    return listed_->second;  // asked many times over
  const auto found = replicas_of_.find(name);
  if (found == replicas_of_.end()) return none;
  listed_ = &*found;
  return found->second;
}

void Brain::list(ReplicaEntry& entry) {
  std::vector<ReplicaEntry*>& all = replicas_of_[entry.second.function];
  const auto by_id = [](const ReplicaEntry* a, const ReplicaEntry* b) {
    return a->first < b->first;
  };
  all.insert(std::upper_bound(all.begin(), all.end(), &entry, by_id), &entry);
}

void Brain::unlist(ReplicaEntry& entry) {
  const auto of_function = replicas_of_.find(entry.second.function);
  std::erase(of_function->second, &entry);
  if (!of_function->second.empty()) return;
  replicas_of_.erase(of_function);
  listed_ = nullptr;
}

int Brain::live_replicas(const std::string& name, int revision) const {
  const std::vector<ReplicaEntry*>& all = replicas_of(name);
  return static_cast<int>(
      std::count_if(all.begin(), all.end(), [revision](const ReplicaEntry* entry) {
        const Replica& replica = entry->second;
        return replica.revision == revision &&
               (replica.state == domain::State::Loading || replica.state == domain::State::Ready);
      }));
}

std::uint64_t Brain::reserved_bytes() const {
  if (reserved_ && options_.rests) return *reserved_;
  std::uint64_t bytes = set_aside_bytes_;
  for (const auto& [id, replica] : replicas_) bytes += replica.host_bytes();
  for (const auto& [id, held] : templates_) bytes += held.bytes;
  reserved_ = bytes;
  return bytes;
}

void Brain::each_function(const std::function<void(FunctionView)>& visit) const {
  for (const auto& [name, function] : functions_) visit(view(name, function));
}

std::optional<FunctionView> Brain::function(const std::string& name) const {
  const auto found = functions_.find(name);
  if (found == functions_.end()) return std::nullopt;
  return view(name, found->second);
}

std::optional<CalleeView> Brain::callee(const std::string& name) const {
  const auto found = functions_.find(name);
  if (found == functions_.end()) return std::nullopt;
  return CalleeView{found->second.current.manifest, found->second.current.facts};
}

std::optional<GenerationView> Brain::generation(const std::string& name, int revision) const {
  const auto found = functions_.find(name);
  if (found == functions_.end()) return std::nullopt;
  const Generation* served = serving_generation(found->second, revision);
  if (served == nullptr) return std::nullopt;
  return GenerationView{served->manifest, served->facts};
}

std::optional<FunctionStatus> Brain::status(const std::string& name) const {
  const auto found = functions_.find(name);
  if (found == functions_.end()) return std::nullopt;
  return status_of(name, found->second);
}

RevisionStatus Brain::status_of(const std::string& name, const Generation& generation) const {
  RevisionStatus status{.revision = generation.revision, .weight = generation.weight};
  bool ready = false, loading = generation.model == Model::Preparing;
  for (const ReplicaEntry* entry : replicas_of(name)) {
    if (entry->second.revision != generation.revision) continue;
    ready |= entry->second.shown_state() == domain::State::Ready;
    loading |= entry->second.shown_state() == domain::State::Loading;
  }
  status.state = is_shut(generation)  ? domain::State::Failed
                 : ready              ? domain::State::Ready
                 : loading            ? domain::State::Loading
                 : generation.failure ? domain::State::Failed
                                      : domain::State::Cold;
  if (status.state == domain::State::Failed) status.reason = generation.failure->error.message;
  return status;
}

FunctionStatus Brain::status_of(const std::string& name, const Function& function) const {
  FunctionStatus status{.revision = function.current.revision,
                        .progress = function.current.progress};
  bool ready = false, loading = false, draining = false, asleep = false;
  for (const ReplicaEntry* entry : replicas_of(name)) {
    const Replica& replica = entry->second;
    status.replicas.push_back({.replica = entry->first,
                               .revision = replica.revision,
                               .state = replica.shown_state(),
                               .progress = replica.progress});
    ready |= replica.shown_state() == domain::State::Ready;
    loading |= replica.shown_state() == domain::State::Loading;
    draining |= replica.state == domain::State::Draining;
    asleep |= replica.state == domain::State::Ready && !replica.takes_calls();
    if (replica.state == domain::State::Loading) status.progress = replica.progress;
  }
  const Model model = function.current.model;
  const TemplateEntry* held = may_fork(function.current) ? origin_of(function.current) : nullptr;
  if (held != nullptr && held->second.state == domain::State::Loading && !ready && !loading &&
      wanted_replicas(name, function, function.current) > 0) {
    loading = true;
    status.progress = held->second.progress;
  }
  const std::vector<ReplicaEntry*>& spares = replicas_of("");
  const bool spare =
      held != nullptr &&
      std::any_of(spares.begin(), spares.end(), [held](const ReplicaEntry* entry) {
        return entry->second.from == held->first && entry->second.state == domain::State::Ready;
      });
  const bool forkable = held != nullptr && held->second.state == domain::State::Ready;
  bool failed = true;
  each_serving(function, [&](const Generation& generation) {
    failed &= generation.failure && (is_shut(generation) || (!ready && !loading));
    status.revisions.push_back(status_of(name, generation));
  });
  if (function.next)
    for (const Generation& generation : function.next->fresh) {
      status.revisions.push_back(status_of(name, generation));
      status.revisions.back().weight = 0;
    }
  status.state = failed                                 ? domain::State::Failed
                 : ready                                ? domain::State::Ready
                 : loading || model == Model::Preparing ? domain::State::Loading
                 : draining                             ? domain::State::Draining
                                                        : domain::State::Cold;
  status.tier = ready      ? domain::Tier::Replica
                : asleep   ? domain::Tier::Asleep
                : spare    ? domain::Tier::Spare
                : forkable ? domain::Tier::Template
                : model == Model::Prepared
                    ? (function.current.resident ? domain::Tier::Memory : domain::Tier::Disk)
                    : domain::Tier::Remote;
  status.reason = failed                            ? function.current.failure->error.message
                  : !function.note.empty()          ? function.note
                  : !function.current.phase.empty() ? function.current.phase
                                                    : hold_fault(function);
  if (status.reason.empty()) status.reason = budget_fault(name, function);
  return status;
}

FunctionView Brain::view(const std::string& name, const Function& function) const {
  FunctionStatus status = status_of(name, function);
  FunctionView shown{.manifest = function.current.manifest,
                     .revision = status.revision,
                     .state = status.state,
                     .tier = status.tier,
                     .reason = std::move(status.reason),
                     .progress = status.progress,
                     .waiting = static_cast<int>(function.waiting.size()),
                     .calls = function.calls,
                     .cold_starts = function.cold_starts,
                     .facts = function.current.facts,
                     .revisions = std::move(status.revisions),
                     .placement = function.current.placement};
  if (may_fork(function.current)) {
    if (const TemplateEntry* held = origin_of(function.current)) {
      shown.template_view = TemplateView{.process = held->first,
                                         .state = held->second.state,
                                         .memory_bytes = held->second.bytes,
                                         .primes = held->second.manifest.prime.size(),
                                         .last_used = held->second.last_used};
      for (const auto& [id, other] : templates_)
        if (other.learned && other.state == domain::State::Ready &&
            may_use(other, function.current))
          ++shown.template_view->learned;
      for (const ReplicaEntry* spare : replicas_of(""))
        if (spare->second.from == held->first)
          shown.template_view->spares.push_back({spare->first, spare->second.memory_bytes});
    }
  }
  each_serving(function, [&shown](const Generation& generation) {
    shown.quarantined |= generation.quarantine.in_a_row > 0;
  });
  shown.holds = holds_of(function);
  shown.scaling = scale_view(function.current);
  for (const ReplicaStatus& one : status.replicas) {
    const Replica& replica = replicas_.at(one.replica);
    shown.replicas.push_back({.replica = one.replica,
                              .revision = one.revision,
                              .state = one.state,
                              .asleep = one.state == domain::State::Cold,
                              .in_flight = replica.in_flight,
                              .progress = one.progress,
                              .threads = replica.threads,
                              .frozen = replica.freeze && replica.freeze->is_frozen(),
                              .memory_bytes = replica.memory_bytes,
                              .inherited_bytes = replica.account.inherited,
                              .devices = pool_.names_of(one.replica),
                              .sandbox = replica.sandbox});
    shown.in_flight += replica.in_flight;
    shown.memory_bytes += replica.memory_bytes;
  }
  return shown;
}

Change change_between(const FunctionStatus& before, const FunctionStatus& after) {
  if (before == after) return Change::None;
  FunctionStatus apart = after;  // but for the fractions
  apart.progress = before.progress;
  for (std::size_t i = 0; i < std::min(apart.replicas.size(), before.replicas.size()); ++i)
    apart.replicas[i].progress = before.replicas[i].progress;
  return apart == before ? Change::Progress : Change::State;
}

}  // namespace glowplug::control
