// What replicas cost and reserve, of each function and of all: simulate/checkers.h.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include <fmt/format.h>

#include "base/units.h"
#include "policy/admission.h"
#include "policy/templates.h"
#include "simulate/checkers.h"

namespace glowplug::simulate {
namespace {

const std::string kRule = "budgets";

// What was put of a function, as the world was told of it.
struct Told {
  std::vector<domain::Budget>
      budgets;                         // that may hold: while a revision is to come also the last's
  std::vector<int> revisions, coming;  // that are to serve; those of them not ready since
  domain::Budget of_most;              // of the revision with most calls
};

class BudgetChecker final : public Checker {
 public:
  explicit BudgetChecker(const WorldModel& model)
      : model_(model),
        prices_(prices_of(model)),
        fleet_(domain::each_alone(model.machine.devices)),
        budget_(model.machine.budget_per_hour.micros) {}

  void turned(const Turn& turn, Verdict& verdict) override {
    std::visit([this](const auto& event) { on(event); }, turn.event);
    for (const control::Effect& effect : turn.effects.list) {
      if (const auto* start = std::get_if<control::StartProcess>(&effect))
        started(*start, turn, verdict);
      if (const auto* assign = std::get_if<control::AssignReplica>(&effect))
        assigned(*assign, turn, verdict);
      if (const auto* stop = std::get_if<control::StopProcess>(&effect)) bequeath(stop->process);
      if (const auto* kill = std::get_if<control::KillProcess>(&effect)) bequeath(kill->process);
    }
  }

 private:
  struct Process {
    std::string function = {};  // empty: a spare, or a template
    int revision = 0;
    std::int64_t per_hour = 0;
    std::uint64_t bytes = 0;  // that are reserved at least: what it is known to hold
    std::optional<domain::ProcessId> from = {};
    bool is_ready = false;
    bool is_heir = false;  // its template ends: what both map may look like its own
  };
  struct Sum {
    std::int64_t per_hour = 0;
    std::uint64_t bytes = 0;
  };

  template <typename Event>
  void on(const Event&) {}
  void on(const control::FunctionPut& put) {
    tell(put.manifest.name, {{put.manifest, put.revision}});
  }
  void on(const control::TrafficSet& set) { tell(set.function, set.served); }
  void on(const control::FunctionDeleted& deleted) { told_.erase(deleted.function); }
  void on(const control::ProcessGone& gone) { forget(gone.process); }
  void on(const control::ProcessReady& ready) {
    Process* process = find(ready.process);
    if (process == nullptr) return;
    process->is_ready = true;
    if (!process->function.empty()) serves(told_[process->function], process->revision);
  }
  void on(const control::MemoryMeasured& measured) {
    Process* process = find(measured.process);
    if (process == nullptr || !process->is_ready || process->is_heir) return;
    if (const Process* base = process->from ? find(*process->from) : nullptr;
        process->from && (base == nullptr || !base->is_ready))
      return;
    const std::uint64_t before = process->bytes;
    process->bytes = std::max(before, measured.own_bytes);
    if (!process->function.empty()) of_[process->function].bytes += process->bytes - before;
  }

  void tell(const std::string& name, const std::vector<control::TrafficSet::Served>& served) {
    Told& told = told_[name];
    told.revisions.clear();
    for (const control::TrafficSet::Served& one : served) {
      told.revisions.push_back(one.revision);
      told.budgets.push_back(one.manifest.scale.budget);
    }
    told.coming = told.revisions;
    told.of_most = served.front().manifest.scale.budget;
  }
  static void serves(Told& told, int revision) {
    std::erase(told.coming, revision);
    if (told.coming.empty()) told.budgets = {told.of_most};
  }

  void started(const control::StartProcess& start, const Turn& turn, Verdict& verdict) {
    Process& process = processes_[start.process.value];
    process.from = start.from;
    if (start.role != control::Role::Replica) return;
    const std::string type(start.devices.empty()
                               ? domain::kCpu
                               : std::string_view(fleet_[start.devices.front().value].type));
    const auto devices = std::max<std::size_t>(1, start.devices.size());
    if (const domain::DevicePrice* row = domain::find_price(prices_, type))
      process.per_hour = row->price.per_hour.micros * static_cast<std::int64_t>(devices);
    process.bytes = least_bytes(start);
    process.revision = start.revision;
    if (start.spare) return;
    count(start.process, start.manifest.name);
    check(start.process, process, turn, verdict);
  }
  void assigned(const control::AssignReplica& assign, const Turn& turn, Verdict& verdict) {
    Process& process = processes_[assign.replica.value];
    const Told& told = told_[assign.function];
    process.revision = told.revisions.empty() ? 0 : told.revisions.back();
    count(assign.replica, assign.function);
    check(assign.replica, process, turn, verdict);
  }

  // What it holds as soon as it is ready, or what is known to be enough for it.
  std::uint64_t least_bytes(const control::StartProcess& start) const {
    if (start.manifest.engine.kind == domain::EngineKind::Fake) return 0;
    const ModelProfile& profile = profile_of(model_, start.manifest.name);
    if (start.from)
      return std::min(profile.forked_bytes,
                      policy::estimate_forked_bytes({start.manifest, start.facts}));
    return std::min(profile.weight_bytes + profile.executed_bytes,
                    policy::estimate_replica_bytes(start.manifest, start.facts));
  }

  Process* find(domain::ProcessId id) {
    const auto found = processes_.find(id.value);
    return found == processes_.end() ? nullptr : &found->second;
  }
  // As a replica of this function from now on.
  void count(domain::ProcessId id, const std::string& function) {
    Process& process = processes_[id.value];
    process.function = function;
    all_ += process.per_hour;
    of_[function].per_hour += process.per_hour;
    of_[function].bytes += process.bytes;
  }
  void forget(domain::ProcessId id) {
    const Process* process = find(id);
    if (process == nullptr) return;
    if (process->function.empty()) {
      bequeath(id);
    } else {
      all_ -= process->per_hour;
      of_[process->function].per_hour -= process->per_hour;
      of_[process->function].bytes -= process->bytes;
    }
    processes_.erase(id.value);
  }
  // All that came of it, however many forks ago.
  void bequeath(domain::ProcessId id) {
    const Process* ending = find(id);
    if (ending == nullptr || !ending->function.empty()) return;
    for (auto& [other, process] : processes_) {
      const Process* base = process.from ? find(*process.from) : nullptr;
      const bool is_grandchild = base != nullptr && base->from == id;
      if (process.from == id || is_grandchild) process.is_heir = true;
    }
  }

  void check(domain::ProcessId fresh, const Process& process, const Turn& turn, Verdict& verdict) {
    const std::string& name = process.function;
    if (budget_ > 0 && all_ > budget_)
      verdict.fail(turn.now, kRule,
                   fmt::format("with replica {} of {} all cost {} an hour, and the budget is {}",
                               fresh.value, name, format_micros(all_), format_micros(budget_)));
    const Told& told = told_[name];
    if (takes_over(fresh, process, told)) return;
    const Sum& own = of_.at(name);
    const domain::Budget budget = loosest(told.budgets);
    if (budget.per_hour.micros > 0 && own.per_hour > budget.per_hour.micros)
      verdict.fail(turn.now, kRule,
                   fmt::format("with replica {} those of {} cost {} an hour, and its budget is {}",
                               fresh.value, name, format_micros(own.per_hour),
                               format_micros(budget.per_hour.micros)));
    if (budget.memory_bytes > 0 && own.bytes > budget.memory_bytes)
      verdict.fail(
          turn.now, kRule,
          fmt::format("with replica {} those of {} hold {}, and its budget is {}", fresh.value,
                      name, format_bytes(own.bytes), format_bytes(budget.memory_bytes)));
  }

  // The first of a revision to come, beside those of an older one.
  bool takes_over(domain::ProcessId fresh, const Process& process, const Told& told) const {
    if (told.coming.empty()) return false;
    bool older = false;
    for (const auto& [id, other] : processes_) {
      if (id == fresh.value || other.function != process.function) continue;
      if (other.revision == process.revision) return false;
      older = true;
    }
    return older;
  }
  // 0 bounds nothing.
  static domain::Budget loosest(const std::vector<domain::Budget>& budgets) {
    if (budgets.empty()) return {};
    domain::Budget loosest = budgets.front();
    for (const domain::Budget& one : budgets) {
      const auto is_free = [](auto a, auto b) { return a == 0 || b == 0; };
      loosest.per_hour.micros = is_free(loosest.per_hour.micros, one.per_hour.micros)
                                    ? 0
                                    : std::max(loosest.per_hour.micros, one.per_hour.micros);
      loosest.memory_bytes = is_free(loosest.memory_bytes, one.memory_bytes)
                                 ? 0
                                 : std::max(loosest.memory_bytes, one.memory_bytes);
    }
    return loosest;
  }

  WorldModel model_;
  domain::PriceTable prices_;
  std::vector<domain::Device> fleet_;
  std::int64_t budget_, all_ = 0;
  std::unordered_map<std::string, Sum> of_;     // by function
  std::unordered_map<std::string, Told> told_;  // by function
  std::unordered_map<std::uint64_t, Process> processes_;
};

}  // namespace

std::unique_ptr<Checker> make_budget_checker(const WorldModel& model) {
  return std::make_unique<BudgetChecker>(model);
}

}  // namespace glowplug::simulate
