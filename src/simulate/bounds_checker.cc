// Memory and everything else that has a bound: simulate/checkers.h.
#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "base/units.h"
#include "simulate/books.h"
#include "simulate/checkers.h"

namespace glowplug::simulate {
namespace {

const std::string kRule = "bounds";
constexpr int kWakesAtOnceMax = 100;

class MemoryChecker final : public Checker {
 public:
  explicit MemoryChecker(std::uint64_t memory_bytes) : memory_(memory_bytes) {}

  void turned(const Turn& turn, Verdict& verdict) override {
    const bool raises = std::holds_alternative<control::MemoryMeasured>(turn.event) ||
                        std::holds_alternative<control::MemorySetAside>(turn.event);
    const bool starts = std::any_of(
        turn.effects.list.begin(), turn.effects.list.end(),
        [](const auto& effect) { return std::holds_alternative<control::StartProcess>(effect); });
    if (turn.reserved_bytes > memory_ &&
        (starts || (!raises && turn.reserved_bytes > std::max(memory_, before_))))
      verdict.fail(
          turn.now, "memory",
          fmt::format("{} are reserved of {}, {} before", format_bytes(turn.reserved_bytes),
                      format_bytes(memory_), format_bytes(before_)));
    if (turn.held_bytes > turn.reserved_bytes + turn.outgrown_bytes)
      verdict.fail(turn.now, "memory",
                   fmt::format("{} are held, {} of them unforeseen, and {} reserved",
                               format_bytes(turn.held_bytes), format_bytes(turn.outgrown_bytes),
                               format_bytes(turn.reserved_bytes)));
    before_ = turn.reserved_bytes;
  }

 private:
  std::uint64_t memory_, before_ = 0;
};

// More replicas than a function's revisions may have together are there only while they have calls:
// what is over the bound gets no more of them, and goes as soon as it has none. Which ones these
// are is not seen from outside: so many of those that were busy then must not have been granted
// another one.
class BoundsChecker final : public Checker {
 public:
  explicit BoundsChecker(const Books& books) : books_(books) {}

  void turned(const Turn& turn, Verdict& verdict) override {
    check_wakes(turn, verdict);
    check_queue(turn, verdict);
    for (const Books::Function* function : books_.changed()) note_size(*function);
    std::erase_if(over_, [](const Over& one) { return surplus(*one.function) <= 0; });
    for (const Over& one : over_) check_surplus(one, turn, verdict);
    for (const Books::Replica& one : books_.stopped()) check_least(one, turn, verdict);
  }

  void compare(const std::vector<control::FunctionView>& views, Time now,
               Verdict& verdict) override {
    for (const control::FunctionView& view : views) {
      const Books::Function* function = books_.find(view.manifest.name);
      const int there = function == nullptr ? 0 : function->replicas;
      if (there != static_cast<int>(view.replicas.size()))
        verdict.fail(now, kRule,
                     fmt::format("{} replicas of {} are there, and the brain shows {}", there,
                                 view.manifest.name, view.replicas.size()));
    }
  }

 private:
  struct Over {
    const Books::Function* function = nullptr;
    int surplus = 0;
    std::uint64_t since = 0;  // the turn in which it became so many, or other ones
  };

  void check_wakes(const Turn& turn, Verdict& verdict) {
    const bool again = std::holds_alternative<control::Tick>(turn.event) && turn.now == tick_at_;
    wakes_ = again ? wakes_ + 1 : 0;
    tick_at_ = turn.now;
    if (wakes_ > kWakesAtOnceMax)
      verdict.fail(turn.now, kRule,
                   fmt::format("the brain wants to be woken at once, {} times", wakes_));
  }

  void check_queue(const Turn& turn, Verdict& verdict) const {
    if (!books_.held()) return;
    const Books::Function& function = *books_.find(*books_.held())->function;
    if (function.waiting > function.queue())
      verdict.fail(turn.now, kRule,
                   fmt::format("{} calls wait for {}, and limits.queue is {}", function.waiting,
                               function.name, function.queue()));
  }

  static int surplus(const Books::Function& function) {
    return static_cast<int>(function.live.size()) - function.most();
  }

  void note_size(const Books::Function& function) {
    const int more = surplus(function);
    if (more <= 0) return;
    const auto known = std::find_if(over_.begin(), over_.end(), [&function](const Over& one) {
      return one.function == &function;
    });
    Over& over = known == over_.end() ? over_.emplace_back() : *known;
    if (more >= over.surplus) over.since = books_.turns();  // as many: one for another
    over.function = &function;
    over.surplus = more;
  }

  static void check_surplus(const Over& over, const Turn& turn, Verdict& verdict) {
    const std::vector<Books::Replica*>& live = over.function->live;
    const auto ends = std::count_if(live.begin(), live.end(), [&over](const Books::Replica* one) {
      return one->in_flight > 0 && one->granted_turn <= over.since;
    });
    const int more = surplus(*over.function);
    if (ends < more)
      verdict.fail(turn.now, kRule,
                   fmt::format("{} replicas of {} are there, {} of them may be about to go, and "
                               "scale.max is {}",
                               live.size(), over.function->name, ends, over.function->most()));
  }

  // Nobody wants its place, nothing is new and nothing has failed: what scale.min says stays.
  void check_least(const Books::Replica& replica, const Turn& turn, Verdict& verdict) const {
    const Books::Function* function = replica.function;
    const bool quiet = books_.waiting() == 0 && !books_.is_anything_coming() &&
                       !books_.is_draining() && !books_.is_memory_taken() &&
                       turn.outgrown_bytes == 0 &&
                       std::holds_alternative<control::Tick>(turn.event);
    const bool serves =
        replica.stage == Books::Stage::Ready || replica.stage == Books::Stage::Asleep;
    if (!quiet || function == nullptr || !function->is_settled() || !serves) return;
    if (replica.revision != function->told.front().number || turn.now < function->undisturbed_from)
      return;
    const int least = function->told.front().least;
    if (static_cast<int>(function->live.size()) < least)
      verdict.fail(turn.now, kRule,
                   fmt::format("replica {} of {} is stopped, {} are left, and scale.min is {}",
                               replica.id.value, function->name, function->live.size(), least));
  }

  const Books& books_;
  std::vector<Over> over_;
  int wakes_ = 0;
  Time tick_at_{};
};

}  // namespace

std::unique_ptr<Checker> make_memory_checker(std::uint64_t memory_bytes) {
  return std::make_unique<MemoryChecker>(memory_bytes);
}
std::unique_ptr<Checker> make_bounds_checker(const Books& books) {
  return std::make_unique<BoundsChecker>(books);
}

}  // namespace glowplug::simulate
