#include "runtime/replica_process.h"

#include <csignal>
#include <filesystem>
#include <unistd.h>
#include <utility>

#include <fmt/format.h>
#include <sys/wait.h>

#include "domain/errors.h"
#include "runtime/child_spawn.h"
#include "runtime/fork_order.h"
#include "runtime/leftovers.h"
#include "runtime/reaping.h"
#include "runtime/replica_process_state.h"

namespace glowplug::runtime {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr Duration kKeepLimit = 5s;  // for the copies of a replica's prompt states
constexpr int kUnbornLooks = 10;
constexpr const char* kTemplateGone = "its template is gone";
constexpr Duration kLingerPause = 5ms;  // between looks at a killed group
constexpr int kLingerLooks = 400;       // then the replica counts as gone all the same

Error unwatchable(const std::exception& exception) {
  return {std::string(domain::error::kFunctionFailed),
          fmt::format("the replica's process cannot be watched: {}", exception.what()), ""};
}

}  // namespace

void ReplicaProcess::State::begin() {
  watch_exit();
  read_output();
  if (plan_.readiness == Readiness::ControlChannel) {
    read_control();
    watch_progress();
    return;
  }
  probe_.emplace(
      loop_, ReadinessProbe::Options{.endpoint = plan_.endpoint, .path = plan_.ready_path},
      [this] { became_ready({}); });  // the probe is a member: it does not outlive `this`
  watch_load(plan_.start_timeout,
             fmt::format("did not answer 200 on {} within {:g} s", plan_.ready_path,
                         to_seconds(plan_.start_timeout)),
             ExitReason::StartOverdue);
}

// A descriptor's number is used again, and the loop may still hold an event of its former owner:
// only the kernel's word that the process has ended counts.
void ReplicaProcess::State::watch_exit() {
  pidfd_.async_wait(Descriptor::wait_read, [self = shared_from_this()](Code code) {
    if (code) return;
    if (standing_of(self->pid_) == Standing::Runs) return self->watch_exit();
    self->exited();
  });
}

void ReplicaProcess::State::watch_load(Duration limit, const std::string& cause,
                                       ExitReason reason) {
  load_timer_.expires_after(limit);
  load_timer_.async_wait([self = shared_from_this(), cause, reason](Code code) {
    if (!code && !self->ready_ && !self->stopping_) self->kill(cause, reason);
  });
}

void ReplicaProcess::State::watch_progress() {
  watch_load(
      times_.load_stall_timeout,
      fmt::format("no progress while loading for {:g} s", to_seconds(times_.load_stall_timeout)),
      ExitReason::LoadStalled);
}

void ReplicaProcess::State::became_ready(const WorkerReady& said) {
  if (ready_ || reaping_ || pid_ < 0 || !facts_.asked.empty() || listener_ == nullptr) return;
  hurry();
  ready_ = true;
  load_timer_.cancel();
  const std::string held = leaf_ ? leaf_->layers_on(pid_) : std::string{};
  std::string sandbox = said.sandbox;
  if (!held.empty()) sandbox = sandbox.empty() || sandbox == "none" ? held : sandbox + "," + held;
  listener_->ready(process_, sandbox, said.bytes_read);
}

// What was started ahead gives way to everybody until it is ready; it must not do so as it ends.
void ReplicaProcess::State::hurry() {
  if (ready_ || !is_ahead()) return;
  if (leaf_) leaf_->share_cpu(Leaf::CpuShare::Equal);
  leave_idle_class(pid_);
}

void ReplicaProcess::State::stop() {
  // What has ended by itself, its caller may have seen first.
  if (reaped_ || stopping_ || (pid_ > 0 && standing_of(pid_) == Standing::Ended)) return;
  stopping_ = true;
  facts_.ask("stopped", ExitReason::Stopped);
  if (pid_ < 0) return;  // ended as soon as it says who it is
  load_timer_.cancel();
  const bool is_ours = plan_.readiness == Readiness::ControlChannel;
  if (!ready_ && is_ahead() && is_ours) return kill("stopped", ExitReason::Stopped);
  if (!ready_ || !states_.is_bound() || !states_.keep(control(), StateOrders::Why::Idle))
    return terminate();
  load_timer_.expires_after(kKeepLimit);
  load_timer_.async_wait([self = shared_from_this()](Code code) {
    if (!code) self->terminate();
  });
}

void ReplicaProcess::State::terminate() {
  if (terminated_ || reaped_) return;
  terminated_ = true;
  ::kill(-pid_, SIGTERM);
  ::kill(-pid_, SIGCONT);  // it may be frozen
  kill_after(times_.stop_grace, "", ExitReason::StopOverdue);
}

void ReplicaProcess::State::kill_after(Duration grace, const std::string& cause,
                                       ExitReason reason) {
  end_timer_.expires_after(grace);
  end_timer_.async_wait([self = shared_from_this(), cause, reason](Code code) {
    if (!code) self->kill(cause, reason);
  });
}

void ReplicaProcess::State::kill(const std::string& cause, ExitReason reason) {
  if (reaped_) return;
  facts_.ask(cause, reason);
  if (pid_ < 0) return;
  hurry();
  facts_.kill_sent = ::kill(-pid_, SIGKILL) == 0;
}

void ReplicaProcess::State::abandon() {
  listener_ = nullptr;
  probe_.reset();
  if (!reaped_ && pid_ > 0) {
    ::kill(-pid_, SIGKILL);
    reap(pid_);
    reaped_ = true;
    if (plan_.readiness == Readiness::Http) kill_strays(plan_.folder);
    group_gone(pid_);
  }
  close();
}

// The group is killed while its leader is still a zombie: until then its number cannot name
// anybody else.
void ReplicaProcess::State::exited() {
  if (reaped_) return;
  reaping_ = true;
  probe_.reset();
  load_timer_.cancel();
  end_timer_.cancel();
  ::kill(-pid_, SIGKILL);
  drain();
  const std::optional<siginfo_t> info = reap(pid_);
  reaped_ = true;
  if (plan_.readiness == Readiness::Http) strays_ = Strays(plan_.folder);
  const bool by_others = killed_by_others(facts_, info);
  end_ = end_of(facts_, info, by_others && leaf_ ? memory_kill_in(*leaf_) : std::nullopt);
  linger(kLingerLooks);
}

void ReplicaProcess::State::linger(int looks) {
  if ((group_gone(pid_) && strays_.gone()) || looks == 0) return finish();
  end_timer_.expires_after(kLingerPause);
  end_timer_.async_wait([self = shared_from_this(), looks](Code code) {
    if (!code) self->linger(looks - 1);
  });
}

void ReplicaProcess::State::finish() {
  if (leaf_) end_.most_bytes = leaf_->peak();
  close();
  if (listener_ != nullptr) std::exchange(listener_, nullptr)->gone(process_, end_);
}

void ReplicaProcess::State::close() {
  load_timer_.cancel();
  end_timer_.cancel();
  Code ignored;  // closing a pipe has nothing to report
  pidfd_.close(ignored);
  output_.close(ignored);
  control_.close(ignored);
  lifeline_.reset();
  leaf_.reset();         // the supervisor's tree removes what the kernel still holds
  std::error_code kept;  // a folder that stays is removed by reap_leftovers at the next start
  fs::remove_all(plan_.folder, kept);
}

// --- unborn ---

void ReplicaProcess::State::begin_unborn(std::weak_ptr<State> from) {
  template_ = std::move(from);
  read_output();
  read_control();
  load_timer_.expires_after(times_.fork_limit);
  load_timer_.async_wait([self = shared_from_this()](Code code) {
    if (code || self->pid_ > 0) return;
    const std::string cause =
        fmt::format("did not fork within {:g} s", to_seconds(self->times_.fork_limit));
    self->facts_.ask("its template " + cause, ExitReason::Unborn);
    if (const auto origin = self->template_.lock()) origin->kill(cause, ExitReason::ForkOverdue);
  });
}

void ReplicaProcess::State::born(pid_t pid) {
  if (standing_of(pid) == Standing::NotOurs)
    return break_control("names a process that is not the server's");
  Result<UniqueFd> watched = watch(pid);
  Code code;
  if (watched) pidfd_.assign(watched->get(), code);
  if (code) watched = end_unwatched(pid, code.message());
  if (!watched) return never_born("its process cannot be watched: " + watched.error().message);
  (void)watched->release();
  pid_ = pid;
  if (leaf_ && is_ahead()) leaf_->share_cpu(Leaf::CpuShare::Idle);  // until it is ready
  ::setpgid(pid, pid);  // it does so itself; whoever comes first
  load_timer_.cancel();
  watch_exit();
  const Result<void> recorded = write_pid_file(plan_.folder, pid);
  if (!recorded) return kill(recorded.error().message, ExitReason::ServerFault);
  if (!facts_.asked.empty()) return kill(facts_.asked, facts_.asked_as);  // while it was unborn
  watch_progress();
}

void ReplicaProcess::State::control_closed() {
  if (pid_ > 0 || listener_ == nullptr) return;
  reaped_ = true;
  if (facts_.asked.empty()) end_.ending = control::Ending::Itself;
  facts_.ask(facts_.failed.empty() ? kTemplateGone : facts_.failed, ExitReason::Unborn);
  await_unborn(kUnbornLooks);
}

// One that died before its word is still in the template's group, and can be reaped a moment
// after it has closed its channel.
void ReplicaProcess::State::await_unborn(int looks) {
  const auto origin = template_.lock();
  const bool died = origin && origin->pid_ > 0 && reap_member(origin->pid_);
  if (died && facts_.asked == kTemplateGone) facts_.asked = "ended before it said its number";
  if (!origin || origin->pid_ < 0 || looks == 0 || died) return finish_unborn();
  end_timer_.expires_after(kLingerPause);
  end_timer_.async_wait([self = shared_from_this(), looks](Code code) {
    if (!code) self->await_unborn(looks - 1);
  });
}

// Nobody is left to wait for: the closed channels end a child that nobody knows.
void ReplicaProcess::State::never_born(const std::string& cause, ExitReason reason) {
  if (reaped_) return;
  control_broken_ = reaped_ = true;
  facts_ = {.asked = cause, .asked_as = reason, .failed = {}, .last_line = {}};
  finish_unborn();
}

void ReplicaProcess::State::finish_unborn() {
  end_.cause = facts_.asked;
  end_.reason = facts_.asked_as;
  finish();
}

ReplicaProcess::ReplicaProcess(std::shared_ptr<State> state) : state_(std::move(state)) {}

Result<std::unique_ptr<ReplicaProcess>> ReplicaProcess::start(
    asio::io_context& loop, domain::ProcessId process, LaunchPlan plan, std::optional<Leaf> leaf,
    ReplicaTimes times, ReplicaListener& listener, std::optional<SpawnedChild> begun) {
  Result<SpawnedChild> child =
      begun ? *std::move(begun) : spawn_child(plan, leaf ? &*leaf : nullptr);
  if (!child) return child.error();
  const pid_t pid = child->pid;
  const Result<void> recorded = write_pid_file(plan.folder, pid);
  std::optional<Error> error;
  if (!recorded) error = recorded.error();
  if (!error) {
    std::shared_ptr<State> state;
    try {
      state = std::make_shared<State>(loop, process, std::move(plan), std::move(leaf), times,
                                      listener, std::move(*child));
      state->begin();
      return std::unique_ptr<ReplicaProcess>(new ReplicaProcess(std::move(state)));
    } catch (const std::exception& exception) {  // Asio: out of descriptors or memory
      error = unwatchable(exception);
      if (state) state->abandon();
      if (state) return *error;
    }
  }
  ::kill(-pid, SIGKILL);
  reap(pid);
  return *error;
}

Result<std::unique_ptr<ReplicaProcess>> ReplicaProcess::fork(
    asio::io_context& loop, domain::ProcessId process, LaunchPlan plan, std::optional<Leaf> leaf,
    ReplicaTimes times, ReplicaListener& listener, const ReplicaProcess& from) {
  Result<SpawnedChild> child = order_fork(from.state_->control(), plan, leaf ? &*leaf : nullptr);
  if (!child) return child.error();
  try {
    auto state = std::make_shared<State>(loop, process, std::move(plan), std::move(leaf), times,
                                         listener, std::move(*child));
    state->begin_unborn(from.state_);
    return std::unique_ptr<ReplicaProcess>(new ReplicaProcess(std::move(state)));
  } catch (const std::exception& exception) {  // the closed channels end what may be born
    return unwatchable(exception);
  }
}

ReplicaProcess::~ReplicaProcess() { state_->abandon(); }

void ReplicaProcess::stop() { state_->stop(); }
void ReplicaProcess::remember(std::span<const RememberedPrompt> prompts) {
  (void)state_->states().remember(state_->control(), prompts);
}
void ReplicaProcess::keep() {
  (void)state_->states().keep(state_->control(), StateOrders::Why::Idle);
}
void ReplicaProcess::give(std::uint64_t id, UniqueFd state) {
  (void)state_->states().give(state_->control(), id, std::move(state));
}
void ReplicaProcess::kill(domain::ExitReason reason) { state_->kill("killed", reason); }
const control::Endpoint& ReplicaProcess::endpoint() const { return state_->endpoint(); }
pid_t ReplicaProcess::pid() const { return state_->pid(); }
int ReplicaProcess::control() const { return state_->control(); }

}  // namespace glowplug::runtime
