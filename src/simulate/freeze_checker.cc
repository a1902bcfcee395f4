// Batch work that stands still for others: simulate/checkers.h.
#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "base/units.h"
#include "policy/batch_freeze.h"
#include "simulate/books.h"
#include "simulate/checkers.h"

namespace glowplug::simulate {
namespace {

const std::string kRule = "freezes";

class FreezeChecker final : public Checker {
 public:
  explicit FreezeChecker(const Books& books) : books_(books) {}

  void turned(const Turn& turn, Verdict& verdict) override {
    for (const Books::Freeze& one : books_.freezes()) note(one, turn.now, verdict);
    if (known_.empty()) return;
    std::erase_if(known_, [this](const Known& one) {
      const Books::Replica* replica = books_.find(one.id);
      return replica == nullptr || (replica->in_flight == 0 && !replica->frozen);
    });
    int frozen = 0;
    for (const Known& one : known_) frozen += check(one, turn.now, verdict);
    if (frozen > 0 && books_.working() <= frozen)
      verdict.fail(turn.now, kRule,
                   fmt::format("{} replicas stand still, and nobody else works", frozen));
  }

 private:
  struct Known {
    domain::ProcessId id;
    bool frozen = false;
    Time since{};             // up to which it is added up
    Duration stood{}, ran{};  // since it last had its time
  };

  void note(const Books::Freeze& freeze, Time now, Verdict& verdict) {
    const Books::Replica& replica = *freeze.replica;
    const auto found = std::find_if(known_.begin(), known_.end(),
                                    [&replica](const Known& one) { return one.id == replica.id; });
    Known& known =
        found != known_.end()
            ? *found
            : known_.emplace_back(Known{.id = replica.id, .since = replica.worked_since});
    if (known.frozen == freeze.frozen)
      verdict.fail(now, kRule,
                   fmt::format("replica {} is told twice to {}", replica.id.value,
                               freeze.frozen ? "stand still" : "go on"));
    (known.frozen ? known.stood : known.ran) += now - known.since;
    if (known.ran >= policy::kRunsLeast) known.stood = known.ran = Duration(0);
    known.since = now;
    known.frozen = freeze.frozen;
  }

  // 1 for one that stands still.
  int check(const Known& known, Time now, Verdict& verdict) const {
    if (!known.frozen) return 0;
    const Books::Replica& replica = *books_.find(known.id);
    const Duration stood = known.stood + (now - known.since);
    if (stood > policy::kFrozenMost)
      verdict.fail(now, kRule,
                   fmt::format("replica {} has stood still for {} since it last ran for {}",
                               replica.id.value, format_duration(stood),
                               format_duration(policy::kRunsLeast)));
    if (replica.in_flight == 0)
      verdict.fail(now, kRule,
                   fmt::format("replica {} stands still, and has no work", replica.id.value));
    if (replica.pressing > 0)
      verdict.fail(now, kRule,
                   fmt::format("replica {} stands still with {} calls that are no batch work",
                               replica.id.value, replica.pressing));
    return 1;
  }

  const Books& books_;
  std::vector<Known> known_;  // those that were frozen, while they have work
};

}  // namespace

std::unique_ptr<Checker> make_freeze_checker(const Books& books) {
  return std::make_unique<FreezeChecker>(books);
}

}  // namespace glowplug::simulate
