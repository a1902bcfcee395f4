#include "worker/llama_prime.h"

#include <chrono>
#include <thread>
#include <utility>

#include <sys/mman.h>

#include "domain/errors.h"
#include "ggml-cpu.h"
#include "llama.h"
#include "server-common.h"

namespace glowplug::worker {
namespace {

constexpr std::chrono::minutes kSaveLimit{10};  // nobody else uses the engine

Error failed(std::string message) {
  return Error{std::string(domain::error::kFunctionFailed), std::move(message), {}};
}

// Computes a prompt in a slot and nothing after it.
bool compute(server_routes& routes, const std::vector<Token>& tokens, int slot) {
  const std::function<bool()> go_on = [] { return false; };
  server_http_req request{{}, {}, "/completions", "", "", {}, go_on};
  request.body =
      json{{"prompt", tokens}, {"id_slot", slot}, {"n_predict", 1}, {"cache_prompt", true}}.dump();
  const server_http_res_ptr reply = routes.post_completions(request);
  return reply && reply->status == 200;
}

// What the filler shares with the engine's loop, beside which it runs.
struct Filling {
  server_context& engine;
  const common_params& params;
  PromptMemory& memory;
};

// The engine computes with its thread pool of last time until it computes again, and would touch
// that one's memory then. One token on a pool without threads, which stays, makes it let go.
bool leave_threads(const Filling& with, server_routes& routes, Token token) {
  attach_threads(with.engine.get_llama_context(), {.pool = 1, .used = 1});
  return compute(routes, {token}, 0);
}

Result<void> fill_slots(const Filling& with, std::vector<std::vector<Token>> prompts) {
  server_routes routes(with.params, with.engine);
  routes.update_meta(with.engine);
  LlamaSlots slots(with.engine);
  const int count = with.params.n_parallel;
  std::vector<UniqueFd> states;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const int slot = static_cast<int>(i) % count;
    states.emplace_back(::memfd_create("prime", MFD_CLOEXEC));
    if (!states.back().valid()) return failed("no memory file can be made for a primed prompt");
    if (!compute(routes, prompts[i], slot) || !slots.save(slot, states.back().get(), kSaveLimit))
      return failed("the engine does not compute prime " + std::to_string(i + 1));
  }
  if (!leave_threads(with, routes, prompts[0][0]))
    return failed("the engine does not compute on one thread");
  for (int slot = 0; slot < count; ++slot) {
    const std::size_t i = static_cast<std::size_t>(slot) % prompts.size();
    if (!slots.restore(slot, states[i].get()))
      return failed("the engine does not take prime " + std::to_string(i + 1) + " in slot " +
                    std::to_string(slot));
    with.memory.holds(slot, prompts[i]);
  }
  for (std::size_t i = 0; i < prompts.size(); ++i)
    with.memory.add_prime(std::move(prompts[i]), std::move(states[i]));
  return {};
}

}  // namespace

ggml_threadpool* attach_threads(llama_context* context, const PoolThreads& threads) {
  llama_detach_threadpool(context);
  ggml_threadpool_params options = ggml_threadpool_params_default(threads.pool);
  options.poll = 0;  // as in llama_params.cc
  ggml_threadpool* pool = ggml_threadpool_new(&options);
  llama_attach_threadpool(context, pool, nullptr);
  llama_set_n_threads(context, threads.used, threads.used);
  return pool;
}

Result<void> prime_slots(server_context& engine, const common_params& params,
                         const LlamaPrompts& prompts, const std::vector<Prime>& primes, int threads,
                         PromptMemory& memory) {
  const int room = engine.get_meta().slot_n_ctx;
  std::vector<std::vector<Token>> all;
  for (const Prime& prime : primes) {
    all.push_back(prime.tokens.empty() ? prompts.system_tokens(prime.text) : prime.tokens);
    const std::string name = "prime " + std::to_string(all.size());
    if (all.back().empty()) return failed(name + " has no tokens");
    if (all.back().size() >= static_cast<std::size_t>(room))
      return failed(name + " has " + std::to_string(all.back().size()) +
                    " tokens and a slot's context is " + std::to_string(room) +
                    "; shorten it or raise context");
  }
  llama_context* context = engine.get_llama_context();
  ggml_threadpool* pool = attach_threads(context, {.pool = threads, .used = threads});
  Result<void> filled;
  std::thread filler([&] {
    filled = fill_slots({engine, params, memory}, std::move(all));
    engine.terminate();
  });
  engine.start_loop();
  filler.join();
  if (filled) ggml_threadpool_free(pool);  // else the process ends
  return filled;
}

}  // namespace glowplug::worker
