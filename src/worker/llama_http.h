// The engine's HTTP face on the Unix socket: only the routes that the gateway uses, every handler's
// exception turned into an error body, each prompt sent to the slot that holds most of it, and a
// count of the answers under way so that a stop can wait for them.
//
// Thread: construct and start() on main after loading; finish() on the stop thread; handlers on the
// core's HTTP threads. Decides nothing about who may call: only the server can reach the socket.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <string>

#include "common.h"
#include "server-context.h"
#include "worker/forced_tools.h"
#include "worker/llama_slots.h"
#include "worker/prompt_memory.h"

namespace glowplug::worker {

class LlamaHttp final {
 public:
  // All outlive this object.
  LlamaHttp(const common_params& params, server_context& engine, const LlamaPrompts& prompts,
            PromptMemory& memory);
  ~LlamaHttp();

  // False when the socket cannot be bound; when it returns true the socket serves.
  [[nodiscard]] bool start();

  // Takes no new connection or request, waits for the running answers up to limit, then cuts off
  // the rest.
  void finish(std::chrono::milliseconds limit);
  void join();

 private:
  class Running;

  void add_routes();
  server_http_context::handler_t guarded(server_http_context::handler_t handler);
  server_http_context::handler_t generating(PromptForm form,
                                            server_http_context::handler_t handler);
  PromptMemory::Placed place(PromptForm form, server_http_req& request);
  const std::string& call_opening();

  const common_params& params_;
  const server_context& engine_;
  const LlamaPrompts& prompts_;
  PromptMemory& memory_;
  std::once_flag opening_once_;
  std::string opening_;
  std::shared_ptr<Running> running_;  // shared with every answer under way
  server_routes routes_;
  server_http_context http_;
};

}  // namespace glowplug::worker
