// Processes and files in a simulated world: what starts, loads, sleeps, ends, and what it holds.
#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "domain/errors.h"
#include "domain/limits.h"
#include "policy/admission.h"
#include "policy/templates.h"
#include "simulate/seconds.h"
#include "simulate/world.h"

namespace glowplug::simulate {
namespace {

constexpr std::uint64_t kFakeBytes = 8 * kMegabyte;  // of the fake engine, which has no model
constexpr double kBytesPerToken = 4;                 // of a declared prime's text
constexpr Duration kMeasuring = std::chrono::milliseconds(2);

Duration transfer(std::uint64_t bytes, double mb_per_s) {
  return from_seconds(static_cast<double>(bytes) / (mb_per_s * 1e6));
}

// What whoever reserves expects that it holds, with all of its context used.
std::uint64_t foreseen(const control::StartProcess& effect) {
  const policy::TemplateSource source{effect.manifest, effect.facts};
  if (effect.role != control::Role::Template)
    return effect.from ? policy::estimate_forked_bytes(source)
                       : policy::estimate_replica_bytes(effect.manifest, effect.facts);
  if (!effect.from) return policy::estimate_template_bytes(source);
  return effect.prime == nullptr ? policy::estimate_primed_bytes(source)
                                 : policy::estimate_learned_bytes(source, effect.prime->size());
}

double prime_tokens(const control::StartProcess& effect) {
  double tokens = effect.prime == nullptr ? 0 : static_cast<double>(effect.prime->size());
  for (const std::string& text : effect.manifest.prime)
    tokens += static_cast<double>(text.size()) / kBytesPerToken;
  return tokens;
}

}  // namespace

World::Function* World::function_named(const std::string& name) {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &functions_[found->second];
}

// --- model files ---

void World::carry_out(const control::PrepareModel& effect) {
  Function* function = function_named(effect.manifest.name);
  if (function == nullptr) return;
  if (prepares_failing_ > 0) {
    --prepares_failing_;
    return post_at(now_ + shaken(std::chrono::milliseconds(50)),
                   control::ModelUnavailable{
                       function->name,
                       effect.revision,
                       {std::string(domain::error::kSourceUnreachable), "no source answers", ""}});
  }
  const domain::ModelFacts& facts = function->facts;
  control::ModelPrepared prepared{.function = function->name,
                                  .revision = effect.revision,
                                  .facts = facts,
                                  .fetched = !function->on_disk};
  Duration took{};
  if (!function->on_disk) {
    prepared.verified = shaken(transfer(facts.file_bytes, model_.transfers.verify_mb_per_s));
    took = prepared.verified + shaken(transfer(facts.file_bytes, model_.transfers.fetch_mb_per_s));
    function->on_disk = true;
    page_cache_.use(facts.path, facts.file_bytes);
  }
  prepared.resident = page_cache_.holds(facts.path);
  if (took == Duration(0))
    tell(std::move(prepared));
  else
    post_at(now_ + took, std::move(prepared));
}

void World::carry_out(const control::ReadModel& effect) {
  const Duration took =
      shaken(transfer(effect.facts.file_bytes, model_.transfers.read_mb_per_s / disk_factor_));
  page_cache_.use(effect.facts.path, effect.facts.file_bytes);
  post_at(now_ + took, control::ModelResidency{effect.facts.path, true});
}

void World::lose_model(std::uint32_t number) {
  Function& function = functions_.at(number);
  function.on_disk = false;
  page_cache_.drop(function.facts.path);
  post(control::ModelLost{function.facts.path, "its digest is not what it was"});
}

// --- starts ---

void World::carry_out(const control::StartProcess& effect) {
  const auto function = by_name_.find(effect.manifest.name);
  const bool orphan = effect.from && !processes_.contains(*effect.from);
  if (function == by_name_.end() || orphan) {
    events_.push_back(
        control::ProcessGone{effect.process, "its template is gone", control::Ending::Asked});
    return;
  }
  Function& started = functions_[function->second];
  Process process;
  process.role = effect.role;
  process.profile = started.profile;
  process.function = function->second;
  process.context = static_cast<std::uint64_t>(effect.manifest.context) *
                    static_cast<std::uint64_t>(effect.manifest.slots);
  process.from = effect.from;
  process.devices = effect.devices;
  process.threads = effect.threads;
  process.is_fork = effect.from && effect.role == control::Role::Replica;
  begin(effect.process, processes_.emplace(effect.process, process).first->second, effect);
}

// Pages of a process from its start on; its context comes as it is used.
void World::hold(domain::ProcessId id, Process& process, const control::StartProcess& effect) {
  const ModelProfile& profile = *process.profile;
  const bool is_fake = effect.manifest.engine.kind == domain::EngineKind::Fake;
  const bool is_replica = process.role == control::Role::Replica;
  if (is_fake || !is_replica) process.context = 0;
  if (is_fake) {
    process.fixed_bytes = kFakeBytes;
  } else if (process.is_fork) {
    process.fixed_bytes = profile.forked_bytes;
  } else if (process.from) {  // a primed template
    const auto tokens = static_cast<std::uint64_t>(prime_tokens(effect));
    process.fixed_bytes = tokens * profile.kv_bytes_per_token + kMegabyte;
  } else {
    process.fixed_bytes =
        profile.weight_bytes + (is_replica ? profile.executed_bytes : profile.template_bytes);
  }
  memory_.add(id, process.fixed_bytes, process.from);
  const std::uint64_t most = process.fixed_bytes + process.context * profile.kv_bytes_per_token;
  process.unforeseen = most - std::min(most, foreseen(effect));
  unforeseen_ += process.unforeseen;
  count_on_devices(id, process, Count::In);
}

void World::begin(domain::ProcessId id, Process& process, const control::StartProcess& effect) {
  using What = Happening::What;
  const ModelProfile& profile = *process.profile;
  hold(id, process, effect);
  Function& function = functions_[process.function];
  if (function.failing > 0 || is_broken(process)) {
    function.failing = std::max(0, function.failing - 1);
    return after(id, process, shaken(model_.starts.fork), What::Fail);
  }
  if (process.is_fork) {
    if (!effect.ahead) process.first_call = shaken(model_.starts.first_call);
    return after(id, process,
                 shaken(model_.starts.fork) +
                     (effect.ahead ? shaken(model_.starts.first_call) : Duration(0)),
                 What::Ready);
  }
  process.load_s = process.from ? to_seconds(shaken(model_.starts.fork)) +
                                      prime_tokens(effect) / profile.prefill_tokens_per_s
                                : to_seconds(shaken(load_time(model_, profile)));
  if (process.from) return load(id, process);
  const bool resident = page_cache_.holds(effect.facts.path);
  page_cache_.use(effect.facts.path, effect.facts.file_bytes);
  events_.push_back(control::StartMeasured{id, resident});
  if (resident) return load(id, process);
  process.read_bytes = effect.facts.file_bytes;
  after(id, process,
        shaken(transfer(process.read_bytes, model_.transfers.read_mb_per_s / disk_factor_)),
        What::Load);
}

void World::load(domain::ProcessId id, Process& process) {
  compute_of(process).load(id, process.load_s, model_.starts.load_threads, now_);
}

void World::loaded(domain::ProcessId id) {
  const auto found = processes_.find(id);
  if (found == processes_.end() || found->second.stage != Stage::Loading) return;
  Process& process = found->second;
  process.stage = Stage::Ready;
  process.turn = ++turns_;
  if (process.role == control::Role::Replica && process.devices.empty())
    here_.open(id, *process.profile, process.threads, now_);
  if (!process.devices.empty())
    beside_.open(id, *process.profile, std::max(1, process.profile->threads), now_,
                 speed_of(model_, fleet_.at(process.devices.front().value).type));
  set_held(id, process, process.fixed_bytes);
  measuring_.add(id, now_);
  schedule_measure();
  tell(control::ProcessReady{.process = id, .bytes_read = process.read_bytes});
}

void World::await_in_vain(domain::ProcessId id) {
  const auto found = processes_.find(id);
  if (found == processes_.end()) return;
  after(id, found->second, found->second.is_fork ? domain::kForkLimit : domain::kLoadStallTimeout,
        Happening::What::InVain);
}

// The file that a spare was made from is as it was; what a hand-over costs, its first call pays.
void World::carry_out(const control::AssignReplica& effect) {
  const auto found = processes_.find(effect.replica);
  if (found == processes_.end()) return;
  found->second.first_call = shaken(model_.starts.hand_over);
  if (const auto function = by_name_.find(effect.function); function != by_name_.end())
    found->second.function = function->second;
  events_.push_back(control::ReplicaAssigned{effect.replica});
}

void World::carry_out(const control::SleepReplica& effect) {
  const auto found = processes_.find(effect.replica);
  if (found == processes_.end() || found->second.stage != Stage::Ready) return;
  after(effect.replica, found->second, shaken(model_.starts.sleep), Happening::What::Asleep);
}

void World::carry_out(const control::WakeReplica& effect) {
  const auto found = processes_.find(effect.replica);
  if (found == processes_.end() || found->second.stage != Stage::Ready) return;
  after(effect.replica, found->second, shaken(model_.starts.wake), Happening::What::Awake);
}

// One that is not ready yet opens with it.
void World::carry_out(const control::SetThreads& effect) {
  const auto found = processes_.find(effect.process);
  if (found == processes_.end()) return;
  found->second.threads = effect.threads;
  if (found->second.devices.empty()) here_.set_threads(effect.process, effect.threads, now_);
}

void World::carry_out(const control::FreezeReplica& effect) {
  if (processes_.contains(effect.replica)) here_.freeze(effect.replica, effect.frozen, now_);
}

// --- ends ---

void World::carry_out(const control::StopProcess& effect) {
  end_after(effect.process, shaken(model_.starts.stop));
}

void World::carry_out(const control::KillProcess& effect) {
  end_after(effect.process, shaken(model_.starts.kill));
}

void World::end_after(domain::ProcessId id, Duration delay) {
  const auto found = processes_.find(id);
  if (found == processes_.end()) return;
  found->second.stage = Stage::Stopping;
  for (const domain::CallId call : compute_of(found->second).close(id, now_))
    finish(call, CallOutcome::Broken);
  after(id, found->second, delay, Happening::What::Gone);
}

void World::after(domain::ProcessId id, Process& process, Duration delay, Happening::What what) {
  process.turn = ++turns_;
  at(delay, {what, id.value, process.turn});
}

// A fork that has not come to be goes with its template.
void World::gone(domain::ProcessId id, const std::string& cause, control::Ending ending) {
  const auto found = processes_.find(id);
  if (found == processes_.end()) return;
  const bool is_template = found->second.role == control::Role::Template;
  std::vector<domain::CallId> open;  // as the gateway does: until the end is seen
  for (const domain::CallId call : compute_of(found->second).close(id, now_))
    if (controller_.brain().blames(call) == control::Blamed::Open)
      open.push_back(call);
    else
      finish(call, CallOutcome::Broken);
  outgrown_ -= found->second.outgrown;
  unforeseen_ -= found->second.unforeseen;
  count_on_devices(id, found->second, Count::Out);
  processes_.erase(id);
  const std::uint64_t most_bytes = memory_.made(id);
  memory_.remove(id);
  measuring_.remove(id);
  schedule_measure();
  tell(control::ProcessGone{id, cause, ending, most_bytes});
  for (const domain::CallId call : open) finish(call, CallOutcome::Broken);
  if (!is_template) return;
  std::vector<domain::ProcessId> unborn;
  for (const auto& [other, process] : processes_)
    if (process.from == id && process.stage == Stage::Loading) unborn.push_back(other);
  for (const domain::ProcessId other : unborn)
    gone(other, "its template ended", control::Ending::Itself);
}

bool World::crash(domain::ProcessId id, Death death, const std::string& cause) {
  if (!processes_.contains(id)) return false;
  gone(id, cause,
       death == Death::Itself   ? control::Ending::Itself
       : death == Death::Killed ? control::Ending::Killed
                                : control::Ending::OutOfMemory);
  return true;
}

bool World::stall(domain::ProcessId id, Duration length) {
  const auto found = processes_.find(id);
  if (found == processes_.end() || found->second.stage == Stage::Stopping) return false;
  if (found->second.stage == Stage::Loading && found->second.is_fork) {
    after(id, found->second, length, Happening::What::Ready);
    return true;
  }
  if (found->second.stage == Stage::Loading) return false;
  compute_of(found->second).stall(id, now_);
  at(length, {Happening::What::GoOn, id.value});
  return true;
}

// --- memory ---

// Pages that were used once stay, until the process ends.
void World::use_context(domain::ProcessId id, Process& process) {
  if (process.tokens_now <= process.tokens) return;
  process.tokens = std::min(process.tokens_now, process.context);
  set_held(id, process,
           process.fixed_bytes + process.outgrown +
               process.tokens * process.profile->kv_bytes_per_token);
}

void World::set_held(domain::ProcessId id, const Process& process, std::uint64_t bytes) {
  count_on_devices(id, process, Count::Out);
  memory_.set(id, bytes);
  count_on_devices(id, process, Count::In);
}

// Nothing that is on a device is a fork, so that all it holds it made itself.
void World::count_on_devices(domain::ProcessId id, const Process& process, Count how) {
  const std::uint64_t count = process.devices.size();
  if (count == 0) return;
  const std::uint64_t held = (memory_.made(id) + count - 1) / count;
  const std::uint64_t outgrown = (process.outgrown + process.unforeseen + count - 1) / count;
  for (const domain::DeviceId device : process.devices) {
    HeldOnDevice& on = on_devices_.at(device.value);
    on.bytes = how == Count::In ? on.bytes + held : on.bytes - held;
    on.outgrown = how == Count::In ? on.outgrown + outgrown : on.outgrown - outgrown;
  }
}

bool World::is_broken(const Process& process) const {
  return std::any_of(process.devices.begin(), process.devices.end(), [this](domain::DeviceId id) {
    const auto until = broken_.find(id);
    return until != broken_.end() && until->second > now_;
  });
}

bool World::outgrow(domain::ProcessId id, std::uint64_t bytes) {
  const auto found = processes_.find(id);
  if (found == processes_.end() || found->second.stage != Stage::Ready ||
      found->second.role != control::Role::Replica)
    return false;
  count_on_devices(id, found->second, Count::Out);
  found->second.outgrown += bytes;
  outgrown_ += bytes;
  memory_.set(id, memory_.made(id) + bytes);
  count_on_devices(id, found->second, Count::In);
  return true;
}

void World::measure() {
  const auto process = measuring_.take(now_);
  if (!process) return schedule_measure();
  const MemoryBook::Held held = memory_.held(*process);
  measuring_.done(now_, kMeasuring);
  schedule_measure();
  tell(control::MemoryMeasured{*process, held.own, held.mapped});
}

std::vector<domain::ProcessId> World::processes(Kind kind) const {
  const control::Role role =
      kind == Kind::Template ? control::Role::Template : control::Role::Replica;
  std::vector<domain::ProcessId> found;
  for (const auto& [id, process] : processes_)
    if (process.role == role && process.stage != Stage::Stopping) found.push_back(id);
  return found;
}

}  // namespace glowplug::simulate
