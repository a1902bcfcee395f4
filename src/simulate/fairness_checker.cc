// Callers that share a function: simulate/checkers.h.
#include <algorithm>
#include <deque>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/units.h"
#include "domain/limits.h"
#include "simulate/books.h"
#include "simulate/checkers.h"

namespace glowplug::simulate {
namespace {

const std::string kRule = "fairness";
constexpr std::size_t kLanesMost = 64;  // of one function; with more callers it is not looked at
constexpr std::size_t kLeftMost = 64;   // calls that are kept in a list and wait no more
// Service is known only once an answer ends, and is granted by what answers took before: three
// times as much as ran at once may be wrong.
constexpr double kUnknown = 3;

class FairnessChecker final : public Checker {
 public:
  explicit FairnessChecker(const Books& books) : books_(books) {}

  void turned(const Turn& turn, Verdict& verdict) override {
    if (const auto* deleted = std::get_if<control::FunctionDeleted>(&turn.event))
      shares_of(*books_.find(deleted->function)) = {};
    for (const Books::Call& call : books_.ended()) end(call, turn.now);
    if (books_.held()) hold(*books_.find(*books_.held()));
    for (const Books::Grant& grant : books_.grants()) {
      check(grant, turn.now, verdict);
      count(grant);
    }
    for (const Books::Grant& grant : books_.grants())
      check_turn(*grant.call->function, turn.now, verdict);
  }

 private:
  // The calls of one caller to one function.
  struct Lane {
    domain::CacheDomain caller;
    std::vector<domain::CallId> calls;  // those that waited; some have left since
    std::size_t first = 0;              // the ones before are answered
    int waiting = 0, in_flight = 0;
    double served = 0;                    // slot-seconds of those that ended
    std::vector<double> served_at_first;  // by lane, when it began to wait
  };
  struct Shares {
    std::vector<Lane> lanes;
    int used = 0;  // calls that wait or run
    int in_flight = 0, at_once = 0;
    double longest = 0;  // seconds of an answer
  };

  Shares& shares_of(const Books::Function& function) {
    if (shares_.size() <= function.number) shares_.resize(function.number + 1);
    return shares_[function.number];
  }
  static bool keeps_apart(const Books::Function& function) {
    return !function.told.empty() && function.told.back().keeps_apart;
  }
  static Lane* find(Shares& shares, const Books::Call& call) {
    for (Lane& lane : shares.lanes)
      if (lane.caller == call.caller) return &lane;
    return nullptr;
  }
  // Null where there are too many.
  static Lane* lane_of(Shares& shares, const Books::Call& call) {
    if (Lane* known = find(shares, call)) return known;
    if (shares.lanes.size() == kLanesMost && shares.used == 0) shares.lanes.clear();
    if (shares.lanes.size() == kLanesMost) return nullptr;
    return &shares.lanes.emplace_back(Lane{.caller = call.caller});
  }
  const Books::Call* first_of(Lane& lane) const {
    for (; lane.first < lane.calls.size(); ++lane.first) {
      const Books::Call* call = books_.find(lane.calls[lane.first]);
      if (call != nullptr && call->waits) return call;
    }
    lane.calls.clear();
    lane.first = 0;
    return nullptr;
  }

  void hold(const Books::Call& call) {
    Shares& shares = shares_of(*call.function);
    Lane* lane = lane_of(shares, call);
    if (lane == nullptr) return;
    ++shares.used;
    if (lane->calls.size() > kLeftMost + 2 * static_cast<std::size_t>(lane->waiting)) {
      (void)first_of(*lane);
      lane->calls.erase(lane->calls.begin(),
                        lane->calls.begin() + static_cast<std::ptrdiff_t>(lane->first));
      lane->first = 0;
    }
    lane->calls.push_back(call.id);
    if (lane->waiting++ > 0) return;
    lane->served_at_first.clear();
    for (const Lane& one : shares.lanes) lane->served_at_first.push_back(one.served);
  }

  void count(const Books::Grant& grant) {
    const Books::Call& call = *grant.call;
    Shares& shares = shares_of(*call.function);
    Lane* lane = lane_of(shares, call);
    if (lane == nullptr) return;
    if (call.waited)
      lane->waiting = std::max(0, lane->waiting - 1);
    else
      ++shares.used;
    lane->in_flight += call.weight;
    shares.in_flight += call.weight;
    shares.at_once = std::max(shares.at_once, shares.in_flight);
  }

  void end(const Books::Call& call, Time now) {
    Shares& shares = shares_of(*call.function);
    Lane* lane = find(shares, call);
    if (lane == nullptr) return;
    if (call.waits) {
      lane->waiting = std::max(0, lane->waiting - 1);
    } else if (call.granted && lane->in_flight >= call.weight) {
      lane->in_flight -= call.weight;
      shares.in_flight -= call.weight;
      const double took = to_seconds(now - *call.granted);
      lane->served += took * call.weight;
      shares.longest = std::max(shares.longest, took);
    } else {
      return;
    }
    --shares.used;
  }

  // Whom it passes over.
  void check(const Books::Grant& grant, Time now, Verdict& verdict) {
    const Books::Call& call = *grant.call;
    const Books::Function& function = *call.function;
    Shares& shares = shares_of(function);
    if (shares.lanes.size() < 2 || !function.is_settled()) return;
    if (keeps_apart(function) && !grant.is_first) return;  // it is that caller's already
    const Lane* own = find(shares, call);
    if (own == nullptr) return;
    for (Lane& lane : shares.lanes) {
      if (&lane == own) continue;
      const Books::Call* first = first_of(lane);
      if (first == nullptr) continue;
      // Replicas that are nobody's yet are for those that came first.
      if (keeps_apart(function) && first->id.value > call.id.value) continue;
      check_service(shares, lane, *own, *first, now, verdict);
    }
  }

  // While one has calls that wait, another's get what it could have only until they were served as
  // much as its own.
  static void check_service(const Shares& shares, const Lane& waits, const Lane& other,
                            const Books::Call& first, Time now, Verdict& verdict) {
    const auto since = [&](const Lane& lane) {
      const auto at = static_cast<std::size_t>(&lane - shares.lanes.data());
      const bool was_there = at < waits.served_at_first.size();
      return lane.served - (was_there ? waits.served_at_first[at] : 0);
    };
    const double own = since(waits) + waits.in_flight * shares.longest;
    const double slack = to_seconds(domain::kTurn) + kUnknown * shares.at_once * shares.longest;
    if (since(other) > own + slack)
      verdict.fail(now, kRule,
                   fmt::format("call {} of \"{}\" to {} waits, and those of \"{}\" had {:.1f} s "
                               "since its own had {:.1f} s",
                               first.id.value, waits.caller.tenant, first.function->name,
                               other.caller.tenant, since(other), own));
  }

  // Where a caller has waited for a turn behind others that have all the replicas that there may
  // be, one of these takes no more calls.
  void check_turn(const Books::Function& function, Time now, Verdict& verdict) {
    Shares& shares = shares_of(function);
    if (shares.lanes.size() < 2 || !function.is_settled() || !keeps_apart(function)) return;
    if (static_cast<int>(function.live.size()) < function.most() ||
        now < function.undisturbed_from || books_.is_draining())
      return;
    const Books::Call* waits = first_unserved(shares, function);
    if (waits == nullptr) return;
    const Time turn_ends = std::max(waits->arrived, function.changed) + domain::kTurn;
    if (now <= turn_ends) return;
    const auto& live = function.live;
    const bool one_ends = std::any_of(live.begin(), live.end(), [&](const Books::Replica* one) {
      return one->in_flight > 0 && *one->granted <= turn_ends;
    });
    if (!one_ends)
      verdict.fail(now, kRule,
                   fmt::format("call {} of \"{}\" has waited {} for {}, and the replicas of others "
                               "all go on",
                               waits->id.value, waits->caller.tenant,
                               format_duration(now - waits->arrived), function.name));
  }

  // Replicas that are nobody's yet are for those that came first.
  const Books::Call* first_unserved(Shares& shares, const Books::Function& function) {
    const auto& live = function.live;
    const auto unbound = static_cast<std::size_t>(std::count_if(
        live.begin(), live.end(), [](const Books::Replica* one) { return !one->domain; }));
    std::vector<const Books::Call*> firsts;
    for (Lane& lane : shares.lanes) {
      const Books::Call* first = first_of(lane);
      if (first == nullptr) continue;
      const bool served = std::any_of(live.begin(), live.end(), [&](const Books::Replica* one) {
        return one->domain == lane.caller;
      });
      if (!served) firsts.push_back(first);
    }
    if (firsts.size() <= unbound) return nullptr;
    std::sort(firsts.begin(), firsts.end(),
              [](const Books::Call* a, const Books::Call* b) { return a->id.value < b->id.value; });
    return firsts[unbound];
  }

  const Books& books_;
  std::deque<Shares> shares_;  // by function
};

}  // namespace

std::unique_ptr<Checker> make_fairness_checker(const Books& books) {
  return std::make_unique<FairnessChecker>(books);
}

}  // namespace glowplug::simulate
