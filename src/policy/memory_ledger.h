// What a process is reserved: predicted before it starts, corrected by what is measured of it, and
// learned for the next one of its kind.
//
//   predict ─▶ reserve ─▶ start ─▶ measure ─┬▶ correct its own reservation
//                                           └▶ learn ─▶ predict
//
// A process holds a fixed part (the engine, its buffers, and the model where it is the one that
// holds it) and context, which is taken only as it is used and whose most is known exactly from the
// model's header, context × slots. Measuring gives their sum alone: how much of it is context is
// not seen. So a reservation is
//
//   at least  what was first measured with the whole context beside it, or the most that was
//             measured, with a margin: raised at once, above the estimate too;
//   at most   the estimate, while measuring does not contradict it; once kSamples workings of its
//             kind agree, the most that one of them held with its whole context beside it, as if
//             none of that had been context.
//
// Promised: as long as no process's fixed part outgrows by more than the margin what kSamples
// workings of its kind have held, nor the estimate before that, all processes together hold no more
// than is reserved, whatever they use of their context. One that does outgrow it is corrected at
// its next measurement. What is learned rises at once and falls only when kSamples later workings
// agree. A figure that an owner declares, or that says little of what may follow (a foreign
// process, a primed template), may be raised and never lowered.
//
// Thread: pure functions.
#pragma once

#include <cstdint>
#include <string>

#include "policy/templates.h"

namespace glowplug::policy {

// How many workings must agree before less is reserved.
inline constexpr int kSamples = 8;

// Room above what was measured: 5 %, at least 8 MiB and at most 64. Between its first answer and
// its last a replica's fixed part was seen to grow by some megabytes.
std::uint64_t memory_margin(std::uint64_t measured);
inline constexpr std::uint64_t kStillMargin = std::uint64_t{2} << 20;  // of what does nothing

enum class Lowering { AsLearned, Never };

// What a process may come to hold, before anything was measured.
struct MemoryNeed {
  std::uint64_t estimate = 0;
  std::uint64_t context = 0;  // of it, taken as it is used
  Lowering lowering = Lowering::AsLearned;
  bool is_still = false;  // once it is ready it does nothing: what it holds grows by little
  friend bool operator==(const MemoryNeed&, const MemoryNeed&) = default;
};
MemoryNeed replica_need(const TemplateSource& source);   // by exec, with the model
MemoryNeed forked_need(const TemplateSource& source);    // from a template that holds the model
MemoryNeed template_need(const TemplateSource& source);  // once it is loaded
MemoryNeed primed_need(const TemplateSource& source);    // beside its base
MemoryNeed learned_need(const TemplateSource& source, std::size_t tokens);  // the same

// Of one process, or of several of a kind.
struct MemorySeen {
  std::uint64_t first = 0;  // soon after it was ready; of several the lowest: less of it is context
  std::uint64_t peak = 0;   // of several the highest
  friend bool operator==(const MemorySeen&, const MemorySeen&) = default;
};
MemorySeen seen_with(MemorySeen seen, std::uint64_t measured);
MemorySeen both(const MemorySeen& a, const MemorySeen& b);

// Of one kind.
struct MemoryHistory {
  MemorySeen learned;  // in force once it is known
  bool known = false;
  MemorySeen recent;  // since `learned` last changed
  int samples = 0;
  friend bool operator==(const MemoryHistory&, const MemoryHistory&) = default;
};
enum class Learned { Nothing, More, Less };  // than before, or than the estimate
// A working that was measured; of what does no work (a template) the first one says all, and so
// does one that refutes the estimate.
Learned learn(MemoryHistory& history, const MemoryNeed& need, const MemorySeen& measured,
              int samples_wanted = kSamples);

// What the next one is to be reserved, and what one that runs is.
std::uint64_t reservation(const MemoryNeed& need, const MemoryHistory& history);
std::uint64_t corrected(const MemoryNeed& need, const MemorySeen& own,
                        const MemoryHistory& history);

// The kind: all that decides what a process takes, and nothing that differs between processes that
// take the same. Of a foreign process the revision.
enum class MemoryKind { Replica, Forked, Template };
std::string memory_key(MemoryKind kind, const TemplateSource& source, int revision);

}  // namespace glowplug::policy
