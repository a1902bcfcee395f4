#include "worker/llama_engine.h"

#include <algorithm>
#include <atomic>
#include <clocale>
#include <mutex>
#include <optional>
#include <sched.h>
#include <string>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

#include "base/prefetch.h"
#include "common.h"
#include "ggml-cpu.h"
#include "llama.h"
#include "log.h"
#include "server-common.h"
#include "server-context.h"
#include "worker/llama_http.h"
#include "worker/llama_measure.h"
#include "worker/llama_pacing.h"
#include "worker/llama_params.h"
#include "worker/llama_prime.h"
#include "worker/llama_slots.h"
#include "worker/llama_upload.h"
#include "worker/memory_pages.h"
#include "worker/process.h"
#include "worker/template_loop.h"
#include "worker/thread_count.h"

namespace glowplug::worker {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kAssertionStatus = 134;  // as if by SIGABRT, for whoever reads exit statuses
constexpr std::chrono::milliseconds kAskAgain{5};
constexpr std::chrono::milliseconds kFinishLimit{
    4000};  // leaves the engine a second of the 5 s that a stop may take

// The engine's abort callback takes no argument of ours, so the descriptor it writes to is the one
// global here.
std::atomic<int> assertion_fd{-1};

void report_assertion(const char* message) {
  const std::string line =
      failed_line(std::string("engine assertion: ") + (message ? message : "unknown"));
  [[maybe_unused]] const ssize_t written = ::write(assertion_fd.load(), line.data(), line.size());
  ::_exit(kAssertionStatus);
}

// Keeps the first error that the engine logs while it loads: later ones only say that loading
// failed.
class LoadErrors final {
 public:
  void add(ggml_log_level level, const char* text) {
    if (level != GGML_LOG_LEVEL_ERROR || !text) return;
    std::string line(text);
    while (!line.empty() && (line.back() == '\n' || line.back() == ' ')) line.pop_back();
    const std::lock_guard lock(mutex_);
    if (first_.empty()) first_ = std::move(line);
  }
  std::string cause() {
    const std::lock_guard lock(mutex_);
    return first_.empty()
               ? "the engine refused the model without a message; its log has the details"
               : first_;
  }

 private:
  std::mutex mutex_;
  std::string first_;
};

void log_engine(ggml_log_level level, const char* text, void* errors) {
  static_cast<LoadErrors*>(errors)->add(level, text);
  common_log_default_callback(level, text, nullptr);
}

// How much of loading is reading the file; the rest is the engine's own work on it.
constexpr double kReadShare = 0.9;

void report_progress(server_context& engine, ControlChannel& channel) {
  engine.set_state_callback([&channel](server_state state, const json& what) {
    if (state != SERVER_STATE_LOADING) return;
    channel.loading(kReadShare + (1 - kReadShare) * json_value(what, "value", 0.0));
  });
}

std::string pooling_name(enum llama_pooling_type pooling) {
  switch (pooling) {
    case LLAMA_POOLING_TYPE_MEAN: return "mean";
    case LLAMA_POOLING_TYPE_CLS: return "cls";
    case LLAMA_POOLING_TYPE_LAST: return "last";
    case LLAMA_POOLING_TYPE_RANK: return "rank";
    case LLAMA_POOLING_TYPE_NONE:
    case LLAMA_POOLING_TYPE_UNSPECIFIED: break;
  }
  return "none";
}

// What a process did before it was ready. One that is forked begins anew and has read nothing.
struct Load {
  Clock::time_point began;
  std::uint64_t bytes_read = 0;
};

ReadyFacts ready_facts(const server_context& engine, const common_params& params,
                       const Load& load) {
  const server_context_meta meta = engine.get_meta();
  const llama_model* model = llama_get_model(engine.get_llama_context());
  ReadyFacts facts;
  facts.load_ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - load.began).count();
  facts.bytes_read = load.bytes_read;
  facts.chat_template =
      !params.chat_template.empty() || llama_model_chat_template(model, nullptr) != nullptr;
  const auto tools = meta.chat_template_caps.find("supports_tools");
  facts.tools = facts.chat_template && tools != meta.chat_template_caps.end() && tools->second;
  facts.pooling = pooling_name(meta.pooling_type);
  facts.context = meta.slot_n_ctx;
  return facts;
}

void prepare_engine(const ControlChannel& channel, LoadErrors& errors) {
  std::setlocale(LC_NUMERIC, "C");
  assertion_fd.store(channel.fd());
  ggml_set_abort_callback(report_assertion);
  common_init();
  common_log_set_verbosity_thold(LOG_LEVEL_WARN);
  llama_log_set(log_engine, &errors);
  llama_backend_init();
}

// Computes a few tokens and forgets them, so that the first caller does not pay for the pages that
// any step touches; not where a primed slot's state cannot be cut. On one thread that gives way to
// everybody: whoever prepares a spare must not slow down an answer.
void compute_dummy_batch(llama_context* context, int threads) {
  llama_set_n_threads(context, 1, 1);
  std::thread([context] {
    constexpr int kTokens = 10;
    const sched_param lowest{};
    ::sched_setscheduler(0, SCHED_IDLE, &lowest);
    const llama_vocab* vocab = llama_model_get_vocab(llama_get_model(context));
    std::vector<llama_token> tokens(kTokens, std::max(0, llama_vocab_bos(vocab)));
    const llama_memory_t memory = llama_get_memory(context);
    const llama_pos end = llama_memory_seq_pos_max(memory, 0) + 1;  // of a primed prompt, else 0
    llama_decode(context, llama_batch_get_one(tokens.data(), kTokens));
    llama_memory_seq_rm(memory, 0, end, -1);
    llama_synchronize(context);
  }).join();
  llama_set_n_threads(context, threads, threads);
}

// A forked replica has no thread yet, and one that was executed has loaded with a pool of those
// that it is to use alone.
void prepare_threads(const Options& options, llama_context* context, const PoolThreads& threads) {
  if (options.is_template || threads.pool > threads.used) attach_threads(context, threads);
}

// Forks replicas until it is told to end. Returns in each of them, with the order that made it.
ForkOrder fork_replicas(const server_context& engine, const common_params& params,
                        ControlChannel& channel, UniqueFd lifeline, const Load& load) {
  common_log_pause(common_log_main());  // its thread would not be there in a child
  give_back_zero_pages();
  gather_huge_pages();
  inherit_mappings(params.model.path);
  channel.ready(ready_facts(engine, params, load));
  ForkOrder order = run_template_loop(channel.release(), std::move(lifeline));

  channel.reopen(std::move(order.control));
  assertion_fd.store(channel.fd());
  return order;
}

// Namespaces are entered already, and a template's children inherit them.
SandboxReport confine(const Options& options, const std::string& socket_path,
                      SandboxReport sandbox) {
  if (!llama_supports_gpu_offload())
    return confine_files(access_of(socket_path, options.model_path), std::move(sandbox));
  sandbox.refused.emplace_back("a replica on a GPU needs its devices: files stay in reach");
  return sandbox;
}

// False after it has said what failed.
bool prime(server_context& engine, const common_params& params, const LlamaPrompts& prompts,
           const ForkOrder& order, ControlChannel& channel, PromptMemory& memory) {
  common_log_resume(common_log_main());
  const auto primes = read_primes(order.prime.get());
  const Result<void> primed =
      primes ? prime_slots(engine, params, prompts, *primes, order.threads, memory)
             : primes.error();
  if (!primed) channel.failed(primed.error().message);
  return primed.ok();
}

int measure(const server_context& engine, const MeasureTask& task, const MemoryProbe& probe,
            SandboxReport sandbox) {
  lock_down(std::move(sandbox)).print_refused();
  return measure_engine(engine.get_llama_context(), task, probe);
}

void say_ready(ControlChannel& channel, ReadyFacts facts, const SandboxReport& sandbox) {
  sandbox.print_refused();
  facts.sandbox = sandbox.words();
  channel.ready(facts);
}

// Returns in a replica; on the way there it may become a primed template. Nothing after it has said
// why it cannot.
std::optional<ForkOrder> fork_until_replica(server_context& engine, const common_params& params,
                                            const LlamaPrompts& prompts, ControlChannel& channel,
                                            UniqueFd lifeline, PromptMemory& memory, Load load) {
  ForkOrder order = fork_replicas(engine, params, channel, std::move(lifeline), load);
  while (order.prime.valid()) {
    load = {Clock::now()};
    if (!prime(engine, params, prompts, order, channel, memory)) return std::nullopt;
    order = fork_replicas(engine, params, channel, std::move(order.lifeline), load);
  }
  return order;
}

Load read_model(const Options& options, ControlChannel& channel, Clock::time_point started) {
  const std::uint64_t bytes =
      prefetch_file(options.model_path,
                    {.progress = [&channel](double share) { channel.loading(kReadShare * share); },
                     .cancelled = stop_is_pending});
  if (stop_is_pending()) ::_exit(0);  // nobody waits for what would be loaded
  return {started, bytes};
}

// Returns never: the process ends as the loop does. One order is not enough, because the loop
// forgets what came before it began, and does not tell when it does.
[[noreturn]] void end_loop(server_context& engine) {
  for (;;) {
    engine.terminate();
    std::this_thread::sleep_for(kAskAgain);  // tidy: because nothing tells when the loop begins
  }
}

int serve(const Options& options, ControlChannel& channel, UniqueFd lifeline, SandboxReport sandbox,
          Clock::time_point started, LoadErrors& errors) {
  const MemoryProbe probe;
  auto params = engine_params(options);
  if (!params) {
    channel.failed(params.error().message);
    return 1;
  }
  if (!options.is_template) {
    common_log_pause(common_log_main());  // the sandbox binds the only thread
    sandbox = confine(options, options.socket_path, std::move(sandbox));
    common_log_resume(common_log_main());
    watch_lifeline(std::move(lifeline));
  }
  Load load = read_model(options, channel, started);

  // The engine attaches one thread pool to its context while it loads (cpuparams), and warms up
  // with it.
  server_context engine;
  report_progress(engine, channel);
  if (!engine.load_model(*params)) {
    channel.failed(errors.cause());
    return 1;
  }
  close_uploads();
  const MeasureTask task{options, params->n_batch, !params->no_extra_bufts, started};
  if (options.measures) return measure(engine, task, probe, std::move(sandbox));
  const LlamaPrompts prompts(engine);
  PromptMemory memory(options.slots, states_of(engine));
  LlamaHttp http(*params, engine, prompts, memory);
  LlamaSlots slots(engine);
  PoolThreads threads{.pool = options.cores, .used = options.threads};
  bool warm = options.warm;
  if (options.is_template) {
    std::optional<ForkOrder> forked =
        fork_until_replica(engine, *params, prompts, channel, std::move(lifeline), memory, load);
    if (!forked) return 1;
    load = {Clock::now()};
    sandbox = confine(options, forked->socket_path, std::move(sandbox));
    common_log_resume(common_log_main());
    threads = {.pool = forked->cores, .used = forked->threads};
    warm = forked->warm && !(memory.is_primed() && states_of(engine).slots_too);
    params->hostnames = {forked->socket_path};
    watch_lifeline(std::move(forked->lifeline));
  }
  prepare_threads(options, engine.get_llama_context(), threads);
  if (warm) compute_dummy_batch(engine.get_llama_context(), threads.used);
  // The engine computes embeddings of a whole input at once, and a GPU while this thread goes on.
  if (options.task == Task::kGenerate && !llama_supports_gpu_offload())
    pace_steps(engine.get_llama_context(), options.slots);
  ThreadCount count({.threads = threads.used, .most = threads.pool});
  follow_threads(engine.get_llama_context(), count);
  if (!http.start()) {
    channel.failed("the socket " + params->hostnames.front() + " cannot be bound");
    return 1;
  }
  memory.serve(channel.fd(), slots, [&count](const Order& order) { count.obey(order); });
  watch_stop_signal([&http, &engine] {
    http.finish(kFinishLimit);
    end_loop(engine);
  });
  if (!llama_supports_gpu_offload()) sandbox = lock_down(std::move(sandbox));
  say_ready(channel, ready_facts(engine, *params, load), sandbox);
  engine.start_loop();
  http.join();
  common_log_flush(common_log_main());
  // The stop thread refers to this function's objects, and unmapping the model takes time that
  // nobody waits for.
  ::_exit(0);
}

}  // namespace

int run_llama_engine(const Options& options, ControlChannel& channel, UniqueFd lifeline,
                     SandboxReport sandbox, Clock::time_point started) {
  // Outlives every engine thread that logs.
  static LoadErrors errors;
  prepare_engine(channel, errors);
  channel.loading(0);
  int status = 1;
  try {
    status = serve(options, channel, std::move(lifeline), std::move(sandbox), started, errors);
  } catch (const std::exception& failure) {
    channel.failed(std::string("the engine failed: ") + failure.what());
  }
  common_log_flush(common_log_main());
  ::_exit(status);
}

}  // namespace glowplug::worker
