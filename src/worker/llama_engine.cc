#include "worker/llama_engine.h"

#include <atomic>
#include <clocale>
#include <mutex>
#include <string>
#include <unistd.h>

#include "common.h"
#include "llama.h"
#include "log.h"
#include "server-common.h"
#include "server-context.h"
#include "worker/llama_http.h"
#include "worker/llama_pacing.h"
#include "worker/llama_params.h"
#include "worker/prefetch.h"
#include "worker/process.h"

namespace glowplug::worker {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kAssertionStatus = 134;  // as if by SIGABRT, for whoever reads exit statuses
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

ReadyFacts ready_facts(const server_context& engine, const common_params& params,
                       Clock::time_point started) {
  const server_context_meta meta = engine.get_meta();
  const llama_model* model = llama_get_model(engine.get_llama_context());
  ReadyFacts facts;
  facts.load_ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - started).count();
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

int serve(const Options& options, ControlChannel& channel, Clock::time_point started,
          LoadErrors& errors) {
  auto params = engine_params(options);
  if (!params) {
    channel.failed(params.error().message);
    return 1;
  }
  prefetch_file(options.model_path,
                [&channel](double fraction) { channel.loading(kReadShare * fraction); });

  // The engine attaches one thread pool to its context while it loads (cpuparams), and warms up
  // with it.
  server_context engine;
  report_progress(engine, channel);
  if (!engine.load_model(*params)) {
    channel.failed(errors.cause());
    return 1;
  }
  // The engine computes embeddings of a whole input at once, and a GPU while this thread goes on.
  if (options.task == Task::kGenerate && !llama_supports_gpu_offload())
    pace_steps(engine.get_llama_context(), options.slots);
  LlamaHttp http(*params, engine);
  if (!http.start()) {
    channel.failed("the socket " + options.socket_path + " cannot be bound");
    return 1;
  }
  watch_stop_signal([&http, &engine] {
    http.finish(kFinishLimit);
    engine.terminate();
  });
  channel.ready(ready_facts(engine, *params, started));
  engine.start_loop();
  http.join();
  common_log_flush(common_log_main());
  // The stop thread refers to this function's objects, and unmapping the model takes time that
  // nobody waits for.
  ::_exit(0);
}

}  // namespace

int run_llama_engine(const Options& options, ControlChannel& channel, Clock::time_point started) {
  // Outlives every engine thread that logs.
  static LoadErrors errors;
  prepare_engine(channel, errors);
  channel.loading(0);
  int status = 1;
  try {
    status = serve(options, channel, started, errors);
  } catch (const std::exception& failure) {
    channel.failed(std::string("the engine failed: ") + failure.what());
  }
  common_log_flush(common_log_main());
  ::_exit(status);
}

}  // namespace glowplug::worker
