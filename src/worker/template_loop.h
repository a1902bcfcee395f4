// A template: a process that has done the slow part of a start once and forks replicas on order.
//
//   server ──{"fork":"…/r.sock","threads":2,"cores":4} + 3 descriptors──▶ template ──clone──▶ child
//   server ◀────────{"state":"forked","pid":123}, on the child's own control channel────┘
//
// Further descriptors are the child's leaf cgroup: with `"leaf":"directory"` the child is born in
// it, with `"leaf":"entries"` it writes "0" to each right after its word. A child that cannot get
// there stays in the template's; the server looks for itself. With `"prime":true` the last one is
// a file with prompts, and the child becomes a template whose replicas start with them computed.
//
// The child is made with CLONE_PARENT, so it is the server's own child like any other replica: the
// server waits for it, and a template's death does not touch it. It gets a control channel, a
// lifeline and an output pipe of its own, and says its number itself: what the server knows of a
// replica never depends on the template being alive. An order that cannot be carried out is
// answered on that channel with `failed`.
//
// No randomness may be kept across the fork: the engine draws each sampler's seed from the kernel.
//
// Thread: call from main while no other thread exists; a fork copies only the calling one. Knows no
// engine.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace glowplug::worker {

struct ForkOrder {
  std::string socket_path;
  int threads = 1;
  int cores = 1;      // threads that it may be told to compute with later
  bool warm = false;  // compute a dummy batch before it says ready
  UniqueFd control, lifeline;
  // A JSON array of prompts: the child is to compute them and become a template itself.
  UniqueFd prime;
};

// Of a system message's text, or of tokens as they are.
struct Prime {
  std::string text;
  std::vector<std::int32_t> tokens;
};

// Serves orders on the control channel; returns in each child. In the template itself it never
// returns: SIGTERM and the server's end (the lifeline, or the channel's other end) end the process.
[[nodiscard]] ForkOrder run_template_loop(UniqueFd channel, UniqueFd lifeline);

// The prompts in the file of an order to prime.
[[nodiscard]] Result<std::vector<Prime>> read_primes(int fd);

}  // namespace glowplug::worker
