#include "app/live_platform.h"

#include <boost/asio/post.hpp>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/page_cache.h"
#include "base/prefetch.h"
#include "domain/errors.h"
#include "domain/limits.h"
#include "models/model_source.h"
#include "policy/templates.h"

namespace glowplug::app {
namespace {

constexpr Duration kProgressInterval = std::chrono::milliseconds(100);

std::vector<domain::Device> fleet_of(const control::Brain& brain) {
  std::vector<domain::Device> fleet;
  for (control::DeviceView& view : brain.devices()) fleet.push_back(std::move(view.device));
  return fleet;
}

Error no_such_function(const std::string& name) {
  return {std::string(domain::error::kModelNotFound),
          fmt::format("there is no function `{}`", name), ""};
}

}  // namespace

LivePlatform::LivePlatform(const Parts& parts)
    : loop_(parts.loop),
      clock_(parts.clock),
      models_(parts.models),
      brain_(parts.brain),
      meter_(fleet_of(brain_), parts.brain.prices, parts.clock.now()),
      recorder_(parts.recorder),
      // Owner of both lambdas: rollouts_, a member of this.
      rollouts_({.clock = parts.clock,
                 .writer = parts.writer,
                 .users = parts.models.cache().users(),
                 .cores = parts.brain.cores,
                 .post = [this](control::Event event) { post(std::move(event)); },
                 .view = [this](const std::string& name) { return brain_.function(name); }}),
      supervisor_(parts.loop, parts.supervisor, *this),
      sleepers_(parts.loop),
      prompts_(parts.loop, parts.prompts, parts.engine,
               [this](control::BeginningShared event) { post(std::move(event)); }),
      // Owner of both lambdas: memory_, a member of this.
      memory_({.loop = parts.loop,
               .clock = parts.clock,
               .pid_of = [this](domain::ProcessId process) { return supervisor_.pid(process); },
               .measure = runtime::measure_memory,
               .measured =
                   [this](const control::MemoryMeasured& event) {
                     meter_.measured(event.process, event.own_bytes, clock_.now());
                     post(event);
                   }}),
      learned_(parts.writer, parts.engine),
      memory_bytes_(parts.brain.memory_bytes),
      cores_(parts.brain.cores),
      tuner_(
          parts.loop, supervisor_, [this](control::Event event) { post(std::move(event)); },
          cores_),
      timer_(parts.loop),
      // Owner of the lambda: clock_watch_, a member of this.
      clock_watch_({.loop = parts.loop, .clock = parts.clock, .was_set = [this] {
                      post(control::Tick{});
                    }}) {}

LivePlatform::~LivePlatform() {
  stopping_ = true;
  finders_.join();  // first, because it hands on to the others
  readers_.join();
  fetchers_.join();
  prompts_.finish();
}

Result<void> LivePlatform::restore() {
  const auto learned = learned_.load();
  if (!learned) return learned.error();
  for (const storage::LearnedRow& row : *learned)
    post(control::MemoryKnown{row.key, row.first_bytes, row.peak_bytes});
  return rollouts_.restore();
}

void LivePlatform::begin_drain() {
  draining_ = true;
  stopping_ = true;
  tuner_.fail({std::string(domain::error::kShuttingDown), "the server is shutting down", ""});
  post(control::DrainStarted{});
}

bool LivePlatform::drained() const { return supervisor_.running() == 0; }

void LivePlatform::kill_all() { supervisor_.kill_all(); }

// --- calls from the gateway ---

domain::CallId LivePlatform::call(control::CallWish wish, Done done) {
  const domain::CallId id{++last_call_};
  callers_.emplace(id, Caller{wish.function, wish.weight, std::move(done)});
  post(control::CallArrived{.call = id,
                            .function = std::move(wish.function),
                            .weight = wish.weight,
                            .deadline = clock_.now() + domain::kQueueTimeoutMax,
                            .keep_alive = wish.keep_alive,
                            .domain = std::move(wish.domain),
                            .prompt = std::move(wish.prompt),
                            .retry_of = wish.retry_of,
                            .urgency = wish.urgency});
  return id;
}

control::Blamed LivePlatform::blames(domain::CallId call) const { return brain_.blames(call); }

void LivePlatform::abandon(domain::CallId call) {
  callers_.erase(call);
  granted_.erase(call);
  meter_.ended(call, clock_.now());
  post(control::CallAbandoned{call});
}

void LivePlatform::finish(domain::CallId call, control::CallOutcome outcome) {
  if (const auto granted = granted_.extract(call)) memory_.answered(granted.mapped());
  meter_.ended(call, clock_.now());
  post(control::CallEnded{call, outcome});
}

// Between two tokens: a turn that has no effects and moves no wake-up, without what follows one.
void LivePlatform::began(const std::string& function, int revision, Duration after) {
  const control::AnswerBegan event{function, revision, after};
  if (handling_)
    events_.push_back(event);
  else
    decide(event);
}

Result<control::PutOutcome> LivePlatform::put(const domain::Manifest& manifest,
                                              std::optional<int> if_revision) {
  if (auto fits = brain_.may_place(manifest); !fits) return fits.error();
  return rollouts_.put(manifest, if_revision);
}

Result<void> LivePlatform::remove(const std::string& function) {
  return rollouts_.remove_function(function);
}

Result<void> LivePlatform::warm(const std::string& function, int count, Duration hold) {
  if (auto exists = rollouts_.must_exist(function); !exists) return exists;
  post(control::WarmWanted{function, count, hold});
  return {};
}

Result<void> LivePlatform::preload(const std::string& function, domain::Tier tier, Duration hold) {
  if (auto exists = rollouts_.must_exist(function); !exists) return exists;
  const domain::Manifest& manifest = rollouts_.deployed(function)->manifest;
  const auto refused = [&function](std::string_view why, std::string_view instead) {
    return Error{std::string(domain::error::kUnsupportedValue),
                 fmt::format("`{}` {}; {}", function, why, instead), "tier"};
  };
  if (tier == domain::Tier::Template && !policy::uses_template(manifest))
    return refused("starts without a template", "preload it to memory or replica");
  if (tier < domain::Tier::Template && manifest.model.empty())
    return refused("has no model file", "preload it to replica");
  post(control::PreloadWanted{function, tier, hold});
  return {};
}

Result<void> LivePlatform::stop(const std::string& function) {
  if (auto exists = rollouts_.must_exist(function); !exists) return exists;
  post(control::StopWanted{function});
  return {};
}

Result<domain::WatchId> LivePlatform::watch(const std::string& function,
                                            std::function<void(control::Change)> changed) {
  const auto now = brain_.status(function);
  if (!now) return no_such_function(function);
  return watchers_.add(function, *now, std::move(changed));
}

// --- events from processes ---

void LivePlatform::on_progress(domain::ProcessId process, double fraction) {
  if (tuner_.owns(process)) return;
  post(control::ProcessProgress{process, fraction});
}
void LivePlatform::on_ready(domain::ProcessId process, const std::string& sandbox,
                            std::optional<std::uint64_t> bytes_read) {
  memory_.ready(process);
  post(control::ProcessReady{process, sandbox, bytes_read});
}
void LivePlatform::on_kept(domain::ProcessId process, std::vector<runtime::KeptCopy> copies) {
  prompts_.keep(process, std::move(copies), supervisor_);
}
void LivePlatform::on_wants(domain::ProcessId process, std::uint64_t state) {
  prompts_.give(process, state, supervisor_);
}
void LivePlatform::on_measured(domain::ProcessId process, const std::string& line) {
  tuner_.on_measured(process, line);
}
void LivePlatform::on_gone(domain::ProcessId process, const runtime::ProcessEnd& end) {
  memory_.gone(process);
  meter_.gone(process, clock_.now());
  if (tuner_.owns(process)) return tuner_.on_gone(process, end.cause);
  prompts_.gone(process);
  sleepers_.forget(process);
  bad_sleepers_.erase(process);
  post(control::ProcessGone{process, end.cause, end.ending, end.most_bytes});
}

// --- the brain's turn ---

void LivePlatform::post(control::Event event) {
  events_.push_back(std::move(event));
  if (handling_) return;
  handling_ = true;
  while (!events_.empty()) {
    const control::Event next = std::move(events_.front());
    events_.pop_front();
    const control::Effects effects = decide(next);
    for (const control::Effect& effect : effects.list)
      std::visit([this](const auto& one) { carry_out(one); }, effect);
    set_timer(effects.wake_at);
  }
  handling_ = false;
  watchers_.look([this](const std::string& function) { return brain_.status(function); });
}

control::Effects LivePlatform::decide(const control::Event& event) {
  const Time now = clock_.now();
  const WallTime wall = clock_.wall_now();
  control::Effects effects = brain_.handle(event, now, wall);
  if (recorder_ != nullptr) recorder_->turn(event, now, wall, effects, brain_);
  return effects;
}

void LivePlatform::set_timer(std::optional<Time> at) {
  if (at == timer_at_) return;
  timer_at_ = at;
  timer_.cancel();
  if (!at) return;
  timer_.expires_at(*at);
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    timer_at_.reset();
    post(control::Tick{});
  });
}

void LivePlatform::carry_out(const control::PrepareModel& effect) {
  const std::string name = effect.manifest.name;
  const int revision = effect.revision;
  if (effect.manifest.model.empty()) {  // fake and most process engines have none
    events_.push_back(control::ModelPrepared{name, revision, {}});
    return;
  }
  boost::asio::post(finders_, [this, manifest = effect.manifest, name, revision] {
    auto held = models_.held(manifest.model, manifest.model_sha256);
    if (held) {
      const bool resident = is_resident(held->path);
      boost::asio::post(loop_, [this, name, revision, resident, facts = *std::move(held)] {
        post(control::ModelPrepared{name, revision, facts, Duration(0), false, resident});
      });
      return;
    }
    const auto source = models::parse_source(manifest.model);
    const bool is_file = source && source->kind == models::SourceKind::File;
    boost::asio::post(is_file ? readers_ : fetchers_,
                      [this, manifest, revision] { prepare(manifest, revision); });
  });
}

// On a thread that it may hold for as long as reading or fetching takes.
void LivePlatform::prepare(const domain::Manifest& manifest, int revision) {
  const std::string& name = manifest.name;
  Time reported{};
  std::optional<Time> verifying;
  bool fetched = false;
  const auto progress = [&, this](const models::Progress& at) {
    const Time now = clock_.now();
    if (at.phase == domain::to_string(domain::Phase::Fetch)) {
      fetched = true;
      verifying.reset();
    } else if (!verifying) {
      verifying = now;
    }
    if (now - reported < kProgressInterval) return;
    reported = now;
    const double fraction =
        at.total ? static_cast<double>(at.done) / static_cast<double>(at.total) : 0;
    boost::asio::post(loop_, [this, event = control::ModelProgress{name, revision, fraction,
                                                                   at.phase}] { post(event); });
  };
  auto facts = models_.prepare(manifest.model, manifest.model_sha256, progress,
                               [this] { return stopping_.load(); });
  const Duration verified = verifying ? clock_.now() - *verifying : Duration(0);
  const bool resident = facts && is_resident(facts->path);
  boost::asio::post(
      loop_, [this, name, revision, verified, fetched, resident, outcome = std::move(facts)] {
        if (outcome)
          post(control::ModelPrepared{name, revision, *outcome, verified, fetched, resident});
        else
          post(control::ModelUnavailable{name, revision, outcome.error()});
      });
}

void LivePlatform::carry_out(const control::ReadModel& effect) {
  if (effect.facts.path.empty()) return;
  boost::asio::post(readers_, [this, facts = effect.facts] {
    prefetch_file(facts.path,
                  {.progress = [](double) {}, .cancelled = [this] { return stopping_.load(); }});
    boost::asio::post(loop_, [this, path = facts.path, resident = is_resident(facts.path)] {
      post(control::ModelResidency{path, resident});
    });
  });
}

// A file that is not as it was when it was verified is not started from.
std::string LivePlatform::fault_of(const domain::ModelFacts& facts) {
  if (facts.path.empty()) return {};
  std::string fault = models_.cache().fault_of(facts.path);
  if (!fault.empty()) events_.push_back(control::ModelLost{facts.path, fault});
  return fault;
}

// A stat, and of what is about to be loaded a sampled look at the page cache: half a millisecond
// at most, before something that takes milliseconds at least.
bool LivePlatform::may_load(const control::StartProcess& effect) {
  const std::string& path = effect.facts.path;
  if (path.empty()) return true;
  if (const std::string fault = fault_of(effect.facts); !fault.empty()) {
    supervisor_.not_started(effect);
    events_.push_back(control::ProcessGone{effect.process, fault, control::Ending::Asked});
    return false;
  }
  models_.cache().note_use(path);
  if (effect.from) return true;
  events_.push_back(control::StartMeasured{effect.process, is_resident(path)});
  return true;
}

void LivePlatform::carry_out(const control::StartProcess& effect) {
  if (!may_load(effect)) return;
  if (auto started = supervisor_.start(effect); !started)
    events_.push_back(control::ProcessGone{effect.process, started.error().message,
                                           control::Ending::Asked});  // nothing has run
  else {
    prompts_.started(effect);
    meter_start(effect);
  }
}

// What is reserved of it counts until it is measured. A spare is nobody's yet.
void LivePlatform::meter_start(const control::StartProcess& effect) {
  std::uint64_t reserved = 0;
  if (const auto view = brain_.function(effect.manifest.name)) {
    for (const control::ReplicaView& replica : view->replicas)
      if (replica.replica == effect.process) reserved = replica.memory_bytes;
    if (view->template_view && view->template_view->process == effect.process)
      reserved = view->template_view->memory_bytes;
  }
  meter_.started({.process = effect.process,
                  .function = effect.spare ? std::string() : effect.manifest.name,
                  .devices = effect.devices,
                  .bytes = reserved},
                 clock_.now());
}

void LivePlatform::carry_out(const control::AssignReplica& effect) {
  if (!fault_of(effect.facts).empty()) return;
  supervisor_.assign(effect);
  meter_.assigned(effect.replica, effect.function, clock_.now());
  events_.push_back(control::ReplicaAssigned{effect.replica});
}

void LivePlatform::carry_out(const control::BindReplica& effect) {
  prompts_.bind(effect, supervisor_);
}

void LivePlatform::carry_out(const control::KeepState& effect) { supervisor_.keep(effect.replica); }

void LivePlatform::carry_out(const control::SleepReplica& effect) {
  turn(effect.replica, runtime::sleep_steps(effect.how), effect.how.timeout,
       control::ReplicaAsleep{effect.replica});
}

void LivePlatform::carry_out(const control::WakeReplica& effect) {
  turn(effect.replica, runtime::wake_steps(effect.how), effect.how.timeout,
       control::ReplicaAwake{effect.replica});
}

// Of a replica that has just ended the brain hears with its end.
void LivePlatform::turn(domain::ProcessId replica, std::vector<runtime::SleepStep> steps,
                        Duration limit, control::Event reached) {
  const auto endpoint = supervisor_.endpoint(replica);
  if (!endpoint) return;
  // Owner of the lambda: sleepers_, a member of this.
  sleepers_.run(replica, *endpoint, std::move(steps), limit,
                [this, replica, reached = std::move(reached)](const Result<void>& outcome) {
                  if (outcome) return post(reached);
                  bad_sleepers_.insert(replica);
                  post(control::SleepFailed{replica, outcome.error().message});
                });
}

void LivePlatform::carry_out(const control::SetThreads& effect) {
  if (const auto set = supervisor_.set_threads(effect); !set)
    spdlog::warn("replica={} keeps its threads: {}", effect.process.value, set.error().message);
}

void LivePlatform::carry_out(const control::FreezeReplica& effect) {
  supervisor_.freeze(effect.replica, effect.frozen);
}

void LivePlatform::carry_out(const control::StopProcess& effect) {
  sleepers_.forget(effect.process);
  supervisor_.stop(effect.process);
}

void LivePlatform::carry_out(const control::KillProcess& effect) {
  sleepers_.forget(effect.process);
  supervisor_.kill(effect.process, bad_sleepers_.contains(effect.process)
                                       ? domain::ExitReason::SleepFailed
                                       : domain::ExitReason::Stopped);
}

void LivePlatform::carry_out(const control::GrantCall& effect) {
  const auto caller = callers_.find(effect.call);
  if (caller == callers_.end()) {  // left in the same turn
    events_.push_back(control::CallEnded{effect.call, control::CallOutcome::Unsent});
    return;
  }
  const auto endpoint = supervisor_.endpoint(effect.replica);
  auto served = brain_.generation(caller->second.function, effect.revision);
  if (!endpoint || !served) {
    events_.push_back(control::CallEnded{effect.call, control::CallOutcome::Unsent});
    answer(effect.call,
           Error{std::string(domain::error::kReplicaFailed),
                 "the replica ended before it could take the call", ""},
           1);
    return;
  }
  granted_[effect.call] = effect.replica;
  meter_.granted(effect.call, effect.replica, caller->second.weight, clock_.now());
  answer(effect.call,
         control::Grant{.call = effect.call,
                        .replica = effect.replica,
                        .endpoint = *endpoint,
                        .manifest = std::move(served->manifest),
                        .facts = std::move(served->facts),
                        .revision = effect.revision,
                        .cold = effect.cold,
                        .tier = effect.tier,
                        .waited = effect.waited,
                        .bytes_read = effect.bytes_read},
         0);
}

void LivePlatform::carry_out(const control::RefuseCall& effect) {
  if (callers_.contains(effect.call)) answer(effect.call, effect.error, effect.retry_after_s);
}

// Without it the next server starts from the estimate again.
void LivePlatform::carry_out(const control::MemoryLearned& effect) {
  learned_.set({effect.key, effect.first_bytes, effect.peak_bytes}, [](const Result<void>& kept) {
    if (!kept) spdlog::warn("what was learned of memory is not kept: {}", kept.error().message);
  });
}

void LivePlatform::carry_out(const control::Decision& effect) {
  spdlog::info("function={} decision={} reason=\"{}\"", effect.function, effect.decision,
               effect.reason);
  decisions_.push_back(effect);
  if (decisions_.size() > domain::kDecisionsKept) decisions_.pop_front();
}

// The caller hears on a later turn of the loop, so that call() has returned its id first. A caller
// that leaves in between is found gone, and its slots are given back.
void LivePlatform::answer(domain::CallId call, Result<control::Grant> outcome, int retry_after_s) {
  boost::asio::post(loop_, [this, call, outcome = std::move(outcome), retry_after_s]() mutable {
    const auto caller = callers_.find(call);
    if (caller == callers_.end()) return;  // abandon() has told the brain
    const Done done = std::move(caller->second.done);
    callers_.erase(caller);
    done(std::move(outcome), retry_after_s);
  });
}

}  // namespace glowplug::app
