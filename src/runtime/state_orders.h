// What the server tells a replica of prompt states, and hears of them; the files are memory files
// that travel with the orders, so that no plain text of a prompt touches a disk.
//
//   remember(table)  what there is for its cache domain; once at the bind, and after each change
//   keep()           ──▶ kept(n): the first n of the files that went with it hold a state
//   wants(id)        ──▶ give(id, state): a state of the table, or none
//   overwriting      ──▶ keep(Why::Overwriting): what calls wait to overwrite, nothing else
//
// Thread: the server loop's. Knows no process: it is given the channel with each call.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "runtime/control_line.h"

namespace glowplug::runtime {

struct RememberedPrompt {
  std::uint64_t id = 0;
  std::vector<std::int32_t> tokens;
};

// A copy of a prompt's state, in a memory file.
struct KeptCopy {
  UniqueFd file;
  std::size_t shared_tokens = 0;   // at its beginning, as the replica has seen it
  std::size_t shared_prompts = 0;  // that began with them; 0 = it says nothing
};

class StateOrders final {
 public:
  explicit StateOrders(int slots) : slots_(slots) {}  // 0: it has no prompt states of ours

  bool is_bound() const { return bound_; }  // so that there may be something to keep

  Result<void> remember(int control, std::span<const RememberedPrompt> prompts);
  enum class Why { Idle, Overwriting };
  // Sends nothing where enough such orders are not carried out yet.
  Result<void> keep(int control, Why why);
  Result<void> give(int control, std::uint64_t id, UniqueFd state);  // not valid: it is gone

  // Counts a wish; false where it wants more at once than any call may need.
  bool note_wanted();
  [[nodiscard]] bool is_keeping() const { return !asked_.empty(); }
  // The files that the replica says it has filled; none when it was not asked.
  std::vector<KeptCopy> kept(const WorkerKept& said);

 private:
  int slots_;
  bool bound_ = false;
  std::deque<std::vector<UniqueFd>> asked_;  // oldest first
  std::size_t wanted_ = 0;                   // and not given yet
};

// The order of a worker that stands by: what it would have been executed with, its program first.
Result<UniqueFd> make_start_file(std::span<const std::string> argv,
                                 std::span<const std::string> env);

// The order of a template to be: its prompts as a JSON array of texts, and an array of tokens where
// there are any.
Result<UniqueFd> make_prime_file(std::span<const std::string> texts,
                                 const std::vector<std::int32_t>* tokens);

}  // namespace glowplug::runtime
