#include "runtime/replica_process.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <unistd.h>
#include <utility>
#include <variant>
#include <vector>

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <fmt/format.h>
#include <sys/wait.h>

#include "base/unique_fd.h"
#include "domain/errors.h"
#include "runtime/child_spawn.h"
#include "runtime/control_line.h"
#include "runtime/fork_order.h"
#include "runtime/leftovers.h"
#include "runtime/log_ring.h"
#include "runtime/readiness_probe.h"
#include "runtime/reaping.h"

namespace glowplug::runtime {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using Code = boost::system::error_code;
using Descriptor = asio::posix::stream_descriptor;
using domain::ExitReason;
using namespace std::chrono_literals;

constexpr std::size_t kLogLineBytesMax = 4096;
constexpr std::size_t kDrainBytesMax = 1024 * 1024;  // read at once after the exit, at most
constexpr Duration kKeepLimit = 5s;                  // for the copies of a replica's prompt states
constexpr Duration kFailedGrace = 2s;  // a worker that said "failed" has ended by itself then
constexpr int kUnbornLooks = 10;
constexpr const char* kTemplateGone = "its template is gone";
constexpr Duration kLingerPause = 5ms;  // between looks at a killed group
constexpr int kLingerLooks = 400;       // then the replica counts as gone all the same

Error unwatchable(const std::exception& exception) {
  return {std::string(domain::error::kFunctionFailed),
          fmt::format("the replica's process cannot be watched: {}", exception.what()), ""};
}

}  // namespace

class ReplicaProcess::State final : public std::enable_shared_from_this<State> {
 public:
  State(asio::io_context& loop, domain::ProcessId process, LaunchPlan plan,
        std::optional<Leaf> leaf, ReplicaTimes times, ReplicaListener& listener, SpawnedChild child)
      : loop_(loop),
        process_(process),
        plan_(std::move(plan)),
        leaf_(std::move(leaf)),
        times_(times),
        states_(plan_.slots),
        listener_(&listener),
        pid_(child.pid),
        pidfd_(loop),
        output_(loop, child.output.release()),
        control_(loop),
        lifeline_(std::move(child.lifeline)),
        load_timer_(loop),
        end_timer_(loop) {
    if (child.pidfd.valid()) pidfd_.assign(child.pidfd.release());
    if (child.control.valid()) control_.assign(child.control.release());
  }

  // A descriptor's number is used again, and the loop may still hold an event of its former owner:
  // only the kernel's word that the process has ended counts.
  void watch_exit() {
    pidfd_.async_wait(Descriptor::wait_read, [self = shared_from_this()](Code code) {
      if (code) return;
      if (standing_of(self->pid_) == Standing::Runs) return self->watch_exit();
      self->exited();
    });
  }

  void begin_unborn(std::weak_ptr<State> from) {
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

  void begin() {
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

  void stop() {
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

  StateOrders& states() { return states_; }

  void kill(const std::string& cause, ExitReason reason) {
    if (reaped_) return;
    facts_.ask(cause, reason);
    if (pid_ < 0) return;
    hurry();
    facts_.kill_sent = ::kill(-pid_, SIGKILL) == 0;
  }

  // What was started ahead gives way to everybody until it is ready; it must not do so as it ends.
  void hurry() {
    if (ready_ || !is_ahead()) return;
    if (leaf_) leaf_->share_cpu(Leaf::CpuShare::Equal);
    leave_idle_class(pid_);
  }

  // Ends everything now, without a word to the listener.
  void abandon() {
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

  const control::Endpoint& endpoint() const { return plan_.endpoint; }
  pid_t pid() const { return reaped_ ? -1 : pid_; }  // a number that was reaped may be another's
  int control() { return control_.native_handle(); }

 private:
  // Made before anybody waits for it.
  bool is_ahead() const { return plan_.warm || !plan_.primes.empty() || plan_.prime; }

  void terminate() {
    if (terminated_ || reaped_) return;
    terminated_ = true;
    ::kill(-pid_, SIGTERM);
    ::kill(-pid_, SIGCONT);  // it may be frozen
    kill_after(times_.stop_grace, "", ExitReason::StopOverdue);
  }

  void watch_load(Duration limit, const std::string& cause, ExitReason reason) {
    load_timer_.expires_after(limit);
    load_timer_.async_wait([self = shared_from_this(), cause, reason](Code code) {
      if (!code && !self->ready_ && !self->stopping_) self->kill(cause, reason);
    });
  }

  void watch_progress() {
    watch_load(
        times_.load_stall_timeout,
        fmt::format("no progress while loading for {:g} s", to_seconds(times_.load_stall_timeout)),
        ExitReason::LoadStalled);
  }

  void kill_after(Duration grace, const std::string& cause, ExitReason reason) {
    end_timer_.expires_after(grace);
    end_timer_.async_wait([self = shared_from_this(), cause, reason](Code code) {
      if (!code) self->kill(cause, reason);
    });
  }

  void read_output() {
    output_.async_wait(Descriptor::wait_read, [self = shared_from_this()](Code code) {
      if (code) return;
      auto& to = self->output_bytes_;
      const ssize_t size = ::read(self->output_.native_handle(), to.data(), to.size());
      if (size == 0 || (size < 0 && errno != EAGAIN)) return;
      if (size > 0) self->take_output(static_cast<std::size_t>(size));
      if (self->listener_ != nullptr) self->read_output();
    });
  }

  void read_control() {
    control_.async_read_some(asio::buffer(control_bytes_),
                             [self = shared_from_this()](Code code, std::size_t size) {
                               if (code) return self->control_closed();
                               self->take_control(size);
                               if (self->listener_ != nullptr && !self->control_broken_)
                                 self->read_control();
                             });
  }

  void control_closed() {
    if (pid_ > 0 || listener_ == nullptr) return;
    reaped_ = true;
    if (facts_.asked.empty()) end_.ending = control::Ending::Itself;
    facts_.ask(facts_.failed.empty() ? kTemplateGone : facts_.failed, ExitReason::Unborn);
    await_unborn(kUnbornLooks);
  }

  // One that died before its word is still in the template's group, and can be reaped a moment
  // after it has closed its channel.
  void await_unborn(int looks) {
    const auto origin = template_.lock();
    const bool died = origin && origin->pid_ > 0 && reap_member(origin->pid_);
    if (died && facts_.asked == kTemplateGone) facts_.asked = "ended before it said its number";
    if (!origin || origin->pid_ < 0 || looks == 0 || died) return finish_unborn();
    end_timer_.expires_after(kLingerPause);
    end_timer_.async_wait([self = shared_from_this(), looks](Code code) {
      if (!code) self->await_unborn(looks - 1);
    });
  }

  void born(pid_t pid) {
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

  void take_output(std::size_t size) {
    output_lines_.feed({output_bytes_.data(), size},
                       [this](std::string_view line, LineEnd end) { print(line, end); });
  }

  void print(std::string_view line, LineEnd end) {
    std::string text = printable(line);
    if (end == LineEnd::Cut) text += " …";
    if (listener_ != nullptr) listener_->printed(process_, text);
    if (!text.empty()) facts_.last_line = std::move(text);
  }

  void take_control(std::size_t size) {
    control_lines_.feed({control_bytes_.data(), size}, [this](std::string_view line, LineEnd end) {
      if (control_broken_ || listener_ == nullptr) return;
      if (end == LineEnd::Cut)
        return break_control(fmt::format("is over {} bytes", kControlLineBytesMax));
      Result<ControlMessage> message = parse_control_line(line);
      if (!message) return break_control(message.error().message);
      obey(*message);
    });
    if (!control_broken_ && control_lines_.over())
      break_control(fmt::format("is over {} bytes", kControlLineBytesMax));
  }

  void break_control(const std::string& why) {
    control_broken_ = true;
    const std::string cause = "broke the control protocol: a line " + why;
    return pid_ > 0 ? kill(cause, ExitReason::Protocol) : never_born(cause, ExitReason::Protocol);
  }

  // Nobody is left to wait for: the closed channels end a child that nobody knows.
  void never_born(const std::string& cause, ExitReason reason = ExitReason::ServerFault) {
    if (reaped_) return;
    control_broken_ = reaped_ = true;
    facts_ = {.asked = cause, .asked_as = reason, .failed = {}, .last_line = {}};
    finish_unborn();
  }

  void finish_unborn() {
    end_.cause = facts_.asked;
    end_.reason = facts_.asked_as;
    finish();
  }

  void obey(const ControlMessage& message) {
    if (reaping_) {
      if (const auto* failed = std::get_if<WorkerFailed>(&message)) facts_.failed = failed->cause;
      return;
    }
    if (const auto* forked = std::get_if<WorkerForked>(&message))
      return pid_ < 0 ? born(forked->pid) : break_control("says forked twice");
    if (const auto* ready = std::get_if<WorkerReady>(&message)) return became_ready(*ready);
    if (const auto* loading = std::get_if<WorkerLoading>(&message)) {
      if (ready_ || !facts_.asked.empty() || loading->progress <= progress_) return;
      progress_ = loading->progress;
      watch_progress();
      return listener_->progress(process_, progress_);
    }
    if (const auto* kept = std::get_if<WorkerKept>(&message)) return took_copies(*kept);
    if (std::holds_alternative<WorkerOverwriting>(message))
      return (void)states_.keep(control(), StateOrders::Why::Overwriting);
    if (const auto* wants = std::get_if<WorkerWants>(&message))
      return states_.note_wanted() ? listener_->wants(process_, wants->id)
                                   : (void)states_.give(control(), wants->id, UniqueFd());
    facts_.failed = std::get<WorkerFailed>(message).cause;
    if (!stopping_ && pid_ > 0)
      kill_after(kFailedGrace, "failed and did not exit", ExitReason::LoadFailed);
  }

  void took_copies(const WorkerKept& said) {
    std::vector<KeptCopy> copies = states_.kept(said);
    if (!copies.empty()) listener_->kept(process_, std::move(copies));
    if (!stopping_ || pid_ < 0 || states_.is_keeping()) return;
    load_timer_.cancel();
    terminate();
  }

  void became_ready(const WorkerReady& said) {
    if (ready_ || reaping_ || pid_ < 0 || !facts_.asked.empty() || listener_ == nullptr) return;
    hurry();
    ready_ = true;
    load_timer_.cancel();
    const std::string held = leaf_ ? leaf_->layers_on(pid_) : std::string{};
    std::string sandbox = said.sandbox;
    if (!held.empty()) sandbox = sandbox.empty() || sandbox == "none" ? held : sandbox + "," + held;
    listener_->ready(process_, sandbox, said.bytes_read);
  }

  // The group is killed while its leader is still a zombie: until then its number cannot name
  // anybody else.
  void exited() {
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

  void drain() {  // what the process wrote just before its end is still in the pipes
    const auto read_all = [](Descriptor& from, auto& bytes, const auto& take) {
      for (std::size_t total = 0; from.is_open() && total < kDrainBytesMax;) {
        const ssize_t size = ::read(from.native_handle(), bytes.data(), bytes.size());
        if (size <= 0) return;
        total += static_cast<std::size_t>(size);
        take(static_cast<std::size_t>(size));
      }
    };
    read_all(output_, output_bytes_, [this](std::size_t size) { take_output(size); });
    output_lines_.finish([this](std::string_view line, LineEnd end) { print(line, end); });
    read_all(control_, control_bytes_, [this](std::size_t size) { take_control(size); });
  }

  void linger(int looks) {
    if ((group_gone(pid_) && strays_.gone()) || looks == 0) return finish();
    end_timer_.expires_after(kLingerPause);
    end_timer_.async_wait([self = shared_from_this(), looks](Code code) {
      if (!code) self->linger(looks - 1);
    });
  }

  void finish() {
    if (leaf_) end_.most_bytes = leaf_->peak();
    close();
    if (listener_ != nullptr) std::exchange(listener_, nullptr)->gone(process_, end_);
  }

  void close() {
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

  asio::io_context& loop_;
  domain::ProcessId process_;
  LaunchPlan plan_;
  std::optional<Leaf> leaf_;  // until it is gone
  ReplicaTimes times_;
  StateOrders states_;
  ReplicaListener* listener_;      // null once it has heard the last
  pid_t pid_;                      // -1 while unborn
  std::weak_ptr<State> template_;  // of an unborn one
  Descriptor pidfd_, output_, control_;
  UniqueFd lifeline_;
  asio::steady_timer load_timer_, end_timer_;
  std::optional<ReadinessProbe> probe_;
  std::array<char, 8192> output_bytes_;  // never the loop's: drain() would miss what that has read
  std::array<char, kControlLineBytesMax> control_bytes_;
  LineSplitter output_lines_{kLogLineBytesMax};
  LineSplitter control_lines_{kControlLineBytesMax};
  Strays strays_;
  EndFacts facts_;
  ProcessEnd end_;
  double progress_ = -1;
  bool ready_ = false, stopping_ = false, control_broken_ = false, reaping_ = false,
       reaped_ = false, terminated_ = false;
};

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
