// What a replica remembers of prompts: which slot holds what, and which states it may fetch: those
// that its template was primed with, and those that were kept of its own cache domain.
//
//   request ─▶ place() ─▶ a slot, and where a remembered state shares more of the prompt than any
//                         slot does, that state is restored into it first
//   server ──{"remember":true} + table──▶   what there is for this replica's domain
//   server ◀─{"state":"wants","id":7}────   one of them is needed
//   server ──{"give":7} + state──────────▶  here it is (an empty file: it is not there any more)
//   server ──{"keep":"idle"} + empty files─▶  copy what is worth it
//   server ◀─{"state":"kept","count":2}──   the first two hold a state each; `shared` says of some
//                                           how many prompts have begun like it, and how far
//   server ◀─{"state":"overwriting"}─────   a call waits to overwrite a slot that has no copy
//   server ──{"keep":"overwriting"} + empty files─▶  copy what such calls wait for, nothing else
//
// Files are memory files of the server's: no plain text of a prompt touches a disk, and a replica
// opens none by path but its own descriptors.
//
// Thread: any for place(); orders come in on a thread of its own. Knows no engine but by
// SlotStates.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.h"
#include "worker/order.h"
#include "worker/slot_book.h"

namespace glowplug::worker {

// In a reply's header: microseconds that a prompt state took to be restored, for the gateway.
inline constexpr const char* kRestoredHeader = "x-glowplug-restored-us";

// What the engine does with one slot's state. Thread: any but the engine's own; blocks until done.
class SlotStates {
 public:
  virtual ~SlotStates() = default;
  // Writes the slot's state; its tokens, or nothing when it cannot within the limit. The file may
  // then still be written, but not after a later save() has returned tokens.
  virtual std::optional<std::vector<Token>> save(int slot, int fd,
                                                 std::chrono::milliseconds limit) = 0;
  virtual bool restore(int slot, int fd) = 0;  // after a failure the slot is empty
};

// Whether a prompt state is of use to a prompt that parts from it before its end.
struct StateKind {
  // A copy of more tokens than this cannot be cut: only a prompt that it begins with gains from it.
  std::size_t cut_max = 0;
  bool slots_too = false;  // and nor can what a slot has computed by itself; the engine sees to it

  static StateKind whole() { return {.cut_max = 0, .slots_too = true}; }  // recurrent models
  static StateKind may_be_cut() { return {.cut_max = SIZE_MAX}; }
  // Of layers with a sliding window a copy holds no more than they see, where llama_windows.h does
  // not see to it.
  static StateKind window(std::size_t tokens) { return {.cut_max = tokens}; }
};

class PromptMemory final {
 public:
  // A call waits so long for a copy of what it overwrites.
  static constexpr std::chrono::milliseconds kCopyLimit{500};
  PromptMemory(int slots, StateKind states, std::chrono::milliseconds copy_limit = kCopyLimit)
      : book_(slots, !states.slots_too),
        states_(states),
        copy_limit_(copy_limit),
        restored_(static_cast<std::size_t>(slots)) {}
  ~PromptMemory();
  PromptMemory(const PromptMemory&) = delete;
  PromptMemory& operator=(const PromptMemory&) = delete;

  // In a template: every slot holds the copy of one of these from here on, or can be given it.
  void add_prime(std::vector<Token> tokens, UniqueFd state);
  void holds(int slot, std::vector<Token> tokens);
  bool is_primed() const { return !primes_.empty(); }  // settled before a replica is forked

  // In a replica: takes orders from the channel and answers there; both outlive this object. Orders
  // about other things are handed to `others`, on the thread that reads them.
  using Others = std::function<void(const Order&)>;
  void serve(int channel, SlotStates& engine, Others others = {});

  class Placed;
  // For a request with this prompt. Gives no slot when all are taken: the engine then chooses.
  Placed place(std::vector<Token> prompt, SlotBook::Keep keep);
  // For a request whose slots the engine chooses: where no copy of it may be made, none is made of
  // what any slot holds now. True: it must be computed from its first token on, because the engine
  // might cut what cannot be cut.
  [[nodiscard]] bool leave_to_engine(SlotBook::Keep keep);

 private:
  struct Remembered {
    std::uint64_t id = 0;
    std::vector<Token> tokens;
    std::shared_ptr<UniqueFd> state;  // a prime's; owners: this table and whoever restores it
  };
  struct Wanted {
    int calls = 0;  // that wait for it
    bool here = false;
    std::shared_ptr<UniqueFd> state;  // owners: this table and whoever restores it
  };

  void take_orders();
  void obey(Order order);
  void read_table(int fd);
  enum class Copies { Idle, Losing };  // what is worth it and free; what calls wait for
  void keep(std::vector<UniqueFd> files, Copies which);
  std::optional<std::vector<Token>> copy(std::unique_lock<std::mutex>& lock, int slot, int fd,
                                         std::chrono::milliseconds limit);
  bool copy_idle(std::unique_lock<std::mutex>& lock, int slot, int fd);
  bool copy_losing(std::unique_lock<std::mutex>& lock, int slot, int fd);
  void copy_before_loss(std::unique_lock<std::mutex>& lock, int slot,
                        const std::vector<Token>& prompt);
  bool is_losing(int slot) const;
  void catch_up(std::unique_lock<std::mutex>& lock);
  const Remembered* best_for(std::span<const Token> prompt, std::size_t more_than) const;
  std::shared_ptr<UniqueFd> fetch(std::unique_lock<std::mutex>& lock, const Remembered& state);
  void say(const std::string& line);
  void give_back(Placed& placed);
  void note_restored(int slot, std::size_t tokens);
  bool is_beyond_use(int slot, const std::vector<Token>& prompt) const;

  SlotBook book_;
  StateKind states_;
  std::chrono::milliseconds copy_limit_;
  std::vector<std::size_t> restored_;  // by slot: its first tokens, of a copy that cannot be cut
  std::vector<Remembered> primes_, remembered_;
  int channel_ = -1;
  SlotStates* engine_ = nullptr;
  Others others_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool obeying_ = false;       // an order was taken and is not carried out yet
  bool keeping_ = false;       // it is one to keep, which no call waits for
  bool bound_ = false;         // the server has told what there is: it takes copies too
  std::uint64_t secrets_ = 0;  // calls of the engine's choice of which no copy may be made
  std::map<std::uint64_t, Wanted> wanted_;
  std::vector<int> losing_;  // taken by calls that wait for a copy of what is there
  bool asked_ = false;       // for an order to keep, for their sake; it may still come
  std::chrono::steady_clock::time_point next_copy_;  // of theirs; not before
  std::thread orders_;
};

// A request's slot, given back when it goes.
class PromptMemory::Placed final {
 public:
  Placed() = default;
  Placed(PromptMemory& memory, int slot, std::vector<Token> prompt, SlotBook::Keep keep)
      : memory_(&memory), slot_(slot), prompt_(std::move(prompt)), keep_(keep) {}
  Placed(Placed&&) noexcept = default;
  Placed& operator=(Placed&&) noexcept = default;
  ~Placed();

  int slot() const { return slot_; }  // -1: the engine chooses
  // The engine has answered: the slot holds this prompt now. Before, nobody knows what it holds,
  // and no copy of it is made.
  void computed() { computed_ = true; }
  std::chrono::microseconds restored_in() const { return restored_in_; }
  // What the slot holds is of no use to this prompt, though it begins alike: the engine, which does
  // not know that, is to compute all of it.
  bool afresh() const { return afresh_; }

 private:
  friend class PromptMemory;
  struct NotOwned {
    void operator()(PromptMemory*) const {}
  };
  std::unique_ptr<PromptMemory, NotOwned> memory_;  // null once it is moved from
  int slot_ = -1;
  std::vector<Token> prompt_;
  SlotBook::Keep keep_ = SlotBook::Keep::Yes;
  bool computed_ = false;
  bool afresh_ = false;
  std::uint64_t secrets_ = 0;
  std::chrono::microseconds restored_in_{0};
};

}  // namespace glowplug::worker
