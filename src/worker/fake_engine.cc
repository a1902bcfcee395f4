#include "worker/fake_engine.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <unistd.h>
#include <utility>

#include "base/unique_fd.h"
#include "worker/fake_server.h"
#include "worker/fake_slots.h"
#include "worker/measure.h"
#include "worker/process.h"
#include "worker/template_loop.h"

namespace glowplug::worker {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kLoadSteps = 10;
constexpr int kExitAfterLoadStatus = 3;

// Reports progress in even steps. False when the worker is stopped meanwhile.
bool load(const FakeOptions& fake, ControlChannel& channel, const StopEvent& stop) {
  const auto started = Clock::now();
  for (int step = 0; step < kLoadSteps; ++step) {
    channel.loading(static_cast<double>(step) / kLoadSteps);
    if (step == kLoadSteps / 2 && fake.fault == FakeFault::kCrashOnLoad) std::abort();
    auto due = started + std::chrono::milliseconds(fake.load_ms) * (step + 1) / kLoadSteps;
    if (step == kLoadSteps / 2 && fake.fault == FakeFault::kNeverReady)
      due = Clock::time_point::max();
    if (!wait_until(-1, stop, due)) return false;
  }
  channel.loading(1);
  return true;
}

ReadyFacts ready_facts(const Options& options, Clock::time_point started) {
  ReadyFacts facts;
  facts.load_ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - started).count();
  facts.chat_template = options.task == Task::kGenerate;
  facts.tools = facts.chat_template;
  facts.pooling = options.task == Task::kEmbed    ? "mean"
                  : options.task == Task::kRerank ? "rank"
                                                  : "none";
  facts.context = options.context;
  return facts;
}

// False after it has said what failed.
bool prime(const Options& options, const ForkOrder& order, ControlChannel& channel,
           FakeSlots& slots, PromptMemory& memory) {
  const auto primes = read_primes(order.prime.get());
  const Result<void> primed =
      primes ? prime_fake_slots(*primes, options.context, options.slots, slots, memory)
             : primes.error();
  if (!primed) channel.failed(primed.error().message);
  return primed.ok();
}

}  // namespace

int run_fake_engine(Options options, ControlChannel& channel, UniqueFd lifeline,
                    SandboxReport sandbox, Clock::time_point started) {
  FakeSlots slots(options.slots);
  PromptMemory memory(options.slots, StateKind::may_be_cut());
  if (options.is_template) {
    const StopEvent never;
    load(options.fake, channel, never);
    for (bool forked = false; !forked;) {
      channel.ready(ready_facts(options, started));
      ForkOrder order = run_template_loop(channel.release(), std::move(lifeline));
      started = Clock::now();
      channel.reopen(std::move(order.control));
      lifeline = std::move(order.lifeline);
      options.socket_path = order.socket_path;
      forked = !order.prime.valid();
      if (!forked && !prime(options, order, channel, slots, memory)) ::_exit(1);
    }
  }
  sandbox = confine_files(access_of(options.socket_path, options.model_path), std::move(sandbox));
  watch_lifeline(std::move(lifeline));
  FakeServer server(options, slots, memory);
  watch_stop_signal([&server] { server.finish(); });
  if (!options.is_template && !load(options.fake, channel, server.stop())) ::_exit(0);
  if (options.measures) {
    lock_down(std::move(sandbox)).print_refused();
    std::fputs(measured_line(fake_figures(options)).c_str(), stdout);
    std::fflush(stdout);
    ::_exit(0);
  }
  if (auto listening = server.listen(); !listening) {
    channel.failed(listening.error().message);
    ::_exit(1);
  }
  if (options.task == Task::kGenerate) memory.serve(channel.fd(), slots);
  sandbox = lock_down(std::move(sandbox));
  sandbox.print_refused();
  ReadyFacts facts = ready_facts(options, started);
  facts.sandbox = sandbox.words();
  channel.ready(facts);
  if (options.fake.fault == FakeFault::kExitAfterLoad) ::_exit(kExitAfterLoadStatus);
  server.serve();
  // The stop thread still refers to the server, so nothing is torn down.
  ::_exit(0);
}

}  // namespace glowplug::worker
