// What replicas cost and reserve, of each function and of all: simulate/checkers.h.
#include <algorithm>
#include <cstdint>
#include <string>
#include <unordered_map>

#include <fmt/format.h>

#include "base/units.h"
#include "simulate/checkers.h"

namespace glowplug::simulate {
namespace {

const std::string kRule = "budgets";

class BudgetChecker final : public Checker {
 public:
  explicit BudgetChecker(const WorldModel& model)
      : prices_(prices_of(model)),
        fleet_(domain::each_alone(model.machine.devices)),
        budget_(model.machine.budget_per_hour.micros) {}

  void turned(const Turn& turn, Verdict& verdict) override {
    if (const auto* gone = std::get_if<control::ProcessGone>(&turn.event)) forget(gone->process);
    for (const control::Effect& effect : turn.effects.list) {
      if (const auto* start = std::get_if<control::StartProcess>(&effect))
        started(*start, turn, verdict);
      if (const auto* assign = std::get_if<control::AssignReplica>(&effect)) {
        count(assign->replica, assign->function);
        check(assign->replica, assign->function, turn, verdict);
      }
    }
  }

 private:
  struct Process {
    std::string function;  // empty: a spare
    std::int64_t per_hour = 0;
  };

  void started(const control::StartProcess& start, const Turn& turn, Verdict& verdict) {
    if (start.role != control::Role::Replica) return;
    const std::string type(start.devices.empty()
                               ? domain::kCpu
                               : std::string_view(fleet_[start.devices.front().value].type));
    const auto devices = std::max<std::size_t>(1, start.devices.size());
    Process& process = processes_[start.process.value];
    if (const domain::DevicePrice* row = domain::find_price(prices_, type))
      process.per_hour = row->price.per_hour.micros * static_cast<std::int64_t>(devices);
    if (start.from && start.ahead && start.revision == 0) return;  // a spare
    count(start.process, start.manifest.name);
    check(start.process, start.manifest.name, turn, verdict);
  }

  // As a replica of this function from now on.
  void count(domain::ProcessId id, const std::string& function) {
    Process& process = processes_[id.value];
    process.function = function;
    all_ += process.per_hour;
    of_[function] += process.per_hour;
  }
  void forget(domain::ProcessId id) {
    const auto found = processes_.find(id.value);
    if (found == processes_.end()) return;
    if (const Process& process = found->second; !process.function.empty()) {
      all_ -= process.per_hour;
      of_[process.function] -= process.per_hour;
    }
    processes_.erase(found);
  }

  void check(domain::ProcessId fresh, const std::string& name, const Turn& turn,
             Verdict& verdict) const {
    const std::int64_t own = of_.at(name);
    if (budget_ > 0 && all_ > budget_)
      verdict.fail(turn.now, kRule,
                   fmt::format("with replica {} of {} all cost {} an hour, and the budget is {}",
                               fresh.value, name, format_micros(all_), format_micros(budget_)));
    const auto view = turn.brain.function(name);
    if (!view || view->manifest.scale.budget == domain::Budget{} || takes_over(*view, fresh))
      return;
    const domain::Budget& budget = view->manifest.scale.budget;
    if (budget.per_hour.micros > 0 && own > budget.per_hour.micros)
      verdict.fail(turn.now, kRule,
                   fmt::format("with replica {} those of {} cost {} an hour, and its budget is {}",
                               fresh.value, name, format_micros(own),
                               format_micros(budget.per_hour.micros)));
    const std::uint64_t reserved = own_bytes(*view);
    if (budget.memory_bytes > 0 && reserved > budget.memory_bytes)
      verdict.fail(
          turn.now, kRule,
          fmt::format("with replica {} those of {} reserve {}, and its budget is {}", fresh.value,
                      name, format_bytes(reserved), format_bytes(budget.memory_bytes)));
  }

  static bool serves(const control::FunctionView& view, int revision) {
    return std::any_of(view.revisions.begin(), view.revisions.end(), [revision](const auto& one) {
      return one.revision == revision && one.weight > 0;
    });
  }
  static bool takes_over(const control::FunctionView& view, domain::ProcessId fresh) {
    return std::any_of(view.replicas.begin(), view.replicas.end(), [&](const auto& one) {
      return one.replica == fresh && !serves(view, one.revision);
    });
  }
  // Of those that serve; what they have of a template that is gone is not theirs alone.
  static std::uint64_t own_bytes(const control::FunctionView& view) {
    std::uint64_t bytes = 0;
    for (const control::ReplicaView& one : view.replicas)
      if (serves(view, one.revision))
        bytes += one.memory_bytes - std::min(one.memory_bytes, one.inherited_bytes);
    return bytes;
  }

  domain::PriceTable prices_;
  std::vector<domain::Device> fleet_;
  std::int64_t budget_, all_ = 0;
  std::unordered_map<std::string, std::int64_t> of_;  // by function
  std::unordered_map<std::uint64_t, Process> processes_;
};

}  // namespace

std::unique_ptr<Checker> make_budget_checker(const WorldModel& model) {
  return std::make_unique<BudgetChecker>(model);
}

}  // namespace glowplug::simulate
