#include "simulate/books.h"

#include <algorithm>
#include <utility>

#include "domain/errors.h"
#include "policy/cache_domains.h"
#include "policy/retry.h"

namespace glowplug::simulate {
namespace {

// Until then the brain may remember a failed start, and try none.
constexpr Duration kDisturbed = policy::kFailureMost + policy::kFailureMost / 4;

Books::Revision revision_of(const domain::Manifest& manifest, int number) {
  return {.number = number,
          .least = manifest.scale.min,
          .most = std::max(1, manifest.scale.max),
          .queue = manifest.limits.queue,
          .priority = manifest.priority,
          .keeps_apart = policy::keeps_apart(manifest)};
}

template <typename Value>
bool contains(const std::vector<Value>& all, const Value& one) {
  return std::find(all.begin(), all.end(), one) != all.end();
}

}  // namespace

const Books::Revision* Books::Function::find(int revision) const {
  const auto found = std::find_if(told.rbegin(), told.rend(), [revision](const Revision& one) {
    return one.number == revision;
  });
  return found == told.rend() ? nullptr : &*found;
}

int Books::Function::most() const {
  int sum = 0;
  for (const Revision& one : told) sum += one.most;
  return sum;
}

int Books::Function::queue() const {
  int longest = 0;
  for (const Revision& one : told) longest = std::max(longest, one.queue);
  return longest;
}

void Books::enter(const Turn& turn) {
  ++turns_;
  now_ = turn.now;
  arrived_.reset();
  held_.reset();
  grants_.clear();
  ended_.clear();
  stopped_.clear();
  freezes_.clear();
  changed_.clear();
  std::visit([this](const auto& event) { on(event); }, turn.event);
  for (const control::Effect& effect : turn.effects.list)
    std::visit([this](const auto& one) { on(one); }, effect);
  if (!arrived_) return;
  Call* call = look_up(*arrived_);
  if (call == nullptr || call->granted) return;
  call->waits = call->waited = true;
  ++call->function->waiting;
  ++waiting_;
  held_ = arrived_;
}

const Books::Call* Books::find(domain::CallId id) const {
  if (id.value < first_call_ || id.value - first_call_ >= calls_.size()) return nullptr;
  const std::optional<Call>& call = calls_[id.value - first_call_];
  return call ? &*call : nullptr;
}

Books::Call* Books::look_up(domain::CallId id) {
  return const_cast<Call*>(std::as_const(*this).find(id));
}

const Books::Replica* Books::find(domain::ProcessId id) const {
  const auto found = replicas_.find(id.value);
  return found == replicas_.end() ? nullptr : &found->second;
}

const Books::Function* Books::find(const std::string& name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second;
}

Books::Function& Books::function_named(const std::string& name) {
  const auto [found, fresh] = by_name_.emplace(name, nullptr);
  if (!fresh) return *found->second;
  functions_.push_back({.number = functions_.size(), .name = name});
  found->second = &functions_.back();
  return *found->second;
}

Books::Replica* Books::look_up(domain::ProcessId id) {
  return const_cast<Replica*>(std::as_const(*this).find(id));
}

void Books::note_change(Function& function) {
  function.changed = now_;
  if (std::exchange(function.changed_turn, turns_) != turns_) changed_.push_back(&function);
}

void Books::disturb(Function& function) { function.undisturbed_from = now_ + kDisturbed; }

// --- what is told of functions ---

void Books::tell(Function& function, std::vector<Revision> revisions) {
  coming_ -= function.coming.empty() ? 0 : 1;
  const std::vector<int> serving =
      function.coming.empty() ? std::move(function.latest) : std::vector<int>();
  function.latest.clear();
  function.coming.clear();
  for (Revision& one : revisions) {
    function.latest.push_back(one.number);
    if (!contains(serving, one.number)) function.coming.push_back(one.number);
    std::erase_if(function.told,
                  [&one](const Revision& other) { return other.number == one.number; });
    function.told.push_back(std::move(one));
  }
  coming_ += function.coming.empty() ? 0 : 1;
  note_change(function);
}

// A replica of it is ready, or a call was granted it.
void Books::take_over(Function& function, int revision) {
  note_change(function);
  if (std::erase(function.coming, revision) == 0 || !function.coming.empty()) return;
  --coming_;
  std::erase_if(function.told, [&function](const Revision& one) {
    return !contains(function.latest, one.number);
  });
}

void Books::on(const control::FunctionPut& event) {
  tell(function_named(event.manifest.name), {revision_of(event.manifest, event.revision)});
}

void Books::on(const control::TrafficSet& event) {
  std::vector<Revision> revisions;
  for (const control::TrafficSet::Served& one : event.served)
    revisions.push_back(revision_of(one.manifest, one.revision));
  tell(function_named(event.function), std::move(revisions));
}

void Books::on(const control::FunctionDeleted& event) {
  Function& function = function_named(event.function);
  coming_ -= function.coming.empty() ? 0 : 1;
  function.told.clear();
  function.latest.clear();
  function.coming.clear();
  note_change(function);
}

void Books::on(const control::ModelUnavailable& event) { disturb(function_named(event.function)); }

void Books::on(const control::ModelLost&) {
  for (Function& function : functions_) disturb(function);
}

// --- calls ---

void Books::on(const control::CallArrived& event) {
  if (calls_.empty()) first_call_ = std::max(first_call_, event.call.value);
  if (event.call.value < first_call_ + calls_.size()) return;  // it came before
  calls_.resize(event.call.value - first_call_);
  calls_.emplace_back(Call{.id = event.call,
                           .function = &function_named(event.function),
                           .caller = event.domain,
                           .weight = event.weight,
                           .arrived = now_});
  arrived_ = event.call;
}

void Books::on(const control::GrantCall& effect) {
  Call* found = look_up(effect.call);
  Replica* replica = look_up(effect.replica);
  if (found == nullptr || found->granted || replica == nullptr) return;
  Call& call = *found;
  if (std::exchange(call.waits, false)) {
    --call.function->waiting;
    --waiting_;
  }
  call.granted = now_;
  call.replica = effect.replica;
  if (contains(call.function->coming, effect.revision)) take_over(*call.function, effect.revision);
  const Revision* its = call.function->find(effect.revision);
  call.pressing = its != nullptr && its->priority != domain::Priority::Batch;
  grants_.push_back({&call, replica, effect.revision, !replica->granted.has_value()});
  change(*replica, [&, this] {
    if (replica->in_flight == 0 && replica->idle_turn != turns_) replica->worked_since = now_;
    replica->in_flight += call.weight;
    replica->pressing += call.pressing ? call.weight : 0;
    replica->granted = now_;
    replica->granted_turn = turns_;
  });
}

void Books::on(const control::RefuseCall& effect) {
  const std::string& code = effect.error.code;
  const Call* call = find(effect.call);
  if (call == nullptr || call->granted) return;
  if (code != domain::error::kQueueFull && code != domain::error::kServerIsOverloaded)
    disturb(*call->function);
  end(effect.call);
}

void Books::end(domain::CallId id) {
  Call* found = look_up(id);
  if (found == nullptr) return;
  Call& call = *found;
  if (call.waits) {
    --call.function->waiting;
    --waiting_;
  }
  if (Replica* replica = call.replica ? look_up(*call.replica) : nullptr) {
    change(*replica, [&] {
      replica->in_flight -= call.weight;
      replica->pressing -= call.pressing ? call.weight : 0;
      if (replica->in_flight == 0) replica->idle_turn = turns_;
    });
  }
  ended_.push_back(std::move(call));
  calls_[id.value - first_call_].reset();
  for (; !calls_.empty() && !calls_.front(); ++first_call_) calls_.pop_front();
}

// --- replicas ---

void Books::on(const control::StartProcess& effect) {
  if (effect.role != control::Role::Replica) {
    templates_.insert(effect.process.value);
    return;
  }
  Replica& replica = replicas_[effect.process.value];
  replica.id = effect.process;
  if (effect.spare) return;
  replica.revision = effect.revision;
  add(replica, effect.manifest.name);
}

void Books::on(const control::AssignReplica& effect) {
  Replica* replica = look_up(effect.replica);
  if (replica != nullptr && replica->function == nullptr) add(*replica, effect.function);
}

// To a function's, while it starts or is handed over.
void Books::add(Replica& replica, const std::string& function) {
  change(replica, [&, this] {
    replica.function = &function_named(function);
    replica.stage = Stage::Loading;
  });
  replica.function->live.push_back(&replica);
  ++replica.function->replicas;
  note_change(*replica.function);
}

void Books::on(const control::BindReplica& effect) {
  Replica* replica = look_up(effect.replica);
  if (replica == nullptr) return;
  replica->domain = effect.domain;
  if (replica->function != nullptr) note_change(*replica->function);
}

void Books::on(const control::FreezeReplica& effect) {
  Replica* replica = look_up(effect.replica);
  if (replica == nullptr) return;
  replica->frozen = effect.frozen;
  freezes_.push_back({replica, effect.frozen});
}

void Books::on(const control::ProcessReady& event) {
  Replica* replica = look_up(event.process);
  if (replica == nullptr || replica->stage != Stage::Loading) return;
  change(*replica, [replica] { replica->stage = Stage::Ready; });
  if (replica->function != nullptr) take_over(*replica->function, replica->revision);
}

void Books::on(const control::ReplicaAssigned& event) {
  Replica* replica = look_up(event.replica);
  if (replica == nullptr || replica->stage != Stage::Loading || replica->function == nullptr)
    return;
  change(*replica, [replica] { replica->stage = Stage::Ready; });
  note_change(*replica->function);
}

void Books::on(const control::ReplicaAsleep& event) {
  const Replica* replica = find(event.replica);
  if (replica != nullptr && replica->stage == Stage::Falling) move(event.replica, Stage::Asleep);
}

void Books::on(const control::ReplicaAwake& event) {
  const Replica* replica = find(event.replica);
  if (replica != nullptr && replica->stage == Stage::Waking) move(event.replica, Stage::Ready);
}

void Books::move(domain::ProcessId id, Stage stage) {
  Replica* replica = look_up(id);
  if (replica == nullptr || replica->stage == Stage::Stopping) return;
  change(*replica, [replica, stage] { replica->stage = stage; });
  if (replica->function != nullptr) note_change(*replica->function);
}

void Books::stop(domain::ProcessId id) {
  Replica* replica = look_up(id);
  if (replica == nullptr || replica->stage == Stage::Stopping) return;
  stopped_.push_back(*replica);
  leave(*replica);
  change(*replica, [replica] { replica->stage = Stage::Stopping; });
}

void Books::leave(Replica& replica) {
  if (replica.function == nullptr) return;
  std::erase(replica.function->live, &replica);
  note_change(*replica.function);
}

void Books::on(const control::ProcessGone& event) {
  const bool failed = event.ending != control::Ending::Asked;
  if (templates_.erase(event.process.value) > 0 && failed)
    for (Function& function : functions_) disturb(function);
  Replica* replica = look_up(event.process);
  if (replica == nullptr) return;
  leave(*replica);
  working_ -= replica->works() ? 1 : 0;
  if (replica->function != nullptr) {
    --replica->function->replicas;
    if (failed) disturb(*replica->function);
  }
  replicas_.erase(event.process.value);
}

}  // namespace glowplug::simulate
