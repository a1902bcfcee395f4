#include "runtime/standby_pool.h"

#include <chrono>
#include <csignal>
#include <utility>
#include <vector>

#include <boost/json/object.hpp>

#include "runtime/order.h"
#include "runtime/process_end.h"
#include "runtime/reaping.h"
#include "runtime/state_orders.h"

namespace glowplug::runtime {
namespace {

using Code = boost::system::error_code;
using Descriptor = boost::asio::posix::stream_descriptor;

constexpr Duration kAfterATake = std::chrono::seconds(1);    // the start that took one comes first
constexpr Duration kAfterADeath = std::chrono::seconds(10);  // one that cannot start does not storm

}  // namespace

StandbyPool::StandbyPool(boost::asio::io_context& loop, std::string worker_path, int count,
                         control::ProcessCounts& counts)
    : loop_(loop),
      worker_path_(std::move(worker_path)),
      counts_(counts),
      count_(static_cast<std::size_t>(count)),
      timer_(loop) {
  if (count_ > 0) fill_in(Duration(0));
}

StandbyPool::~StandbyPool() {
  for (Worker& worker : workers_) {
    ::kill(-worker.child.pid, SIGKILL);
    reap(worker.child.pid);
  }
}

void StandbyPool::fill_in(Duration delay) {
  timer_.expires_after(delay);
  timer_.async_wait([this](Code code) {
    if (!code) fill();
  });
}

void StandbyPool::fill() {
  while (workers_.size() < count_) {
    Result<SpawnedChild> child =
        spawn_child(plan_standby(worker_path_, base_environment()), nullptr);
    if (!child) return fill_in(kAfterADeath);
    Descriptor pidfd(loop_);
    Code code;
    pidfd.assign(child->pidfd.release(), code);
    if (code) {
      ::kill(-child->pid, SIGKILL);
      reap(child->pid);
      return fill_in(kAfterADeath);
    }
    workers_.push_back({std::move(*child), std::move(pidfd)});
    counts_.standby_started();
    watch(std::prev(workers_.end()));
  }
}

void StandbyPool::watch(std::list<Worker>::iterator worker) {
  worker->pidfd.async_wait(Descriptor::wait_read,
                           [this, worker, alive = std::weak_ptr<int>(alive_)](Code code) {
                             if (code || alive.expired()) return;
                             if (standing_of(worker->child.pid) == Standing::Runs)
                               return watch(worker);
                             ::kill(-worker->child.pid, SIGKILL);  // while its number is a zombie's
                             const auto info = reap(worker->child.pid);
                             counts_.standby_ended(end_of({}, info, std::nullopt).reason);
                             workers_.erase(worker);
                             fill_in(kAfterADeath);
                           });
}

std::optional<SpawnedChild> StandbyPool::take(const LaunchPlan& plan, const Leaf* leaf) {
  if (plan.program != worker_path_ || workers_.empty()) return std::nullopt;
  const auto worker = workers_.begin();
  const Result<UniqueFd> file = make_start_file(plan.argv, plan.env);
  if (!file) return std::nullopt;
  std::vector<int> descriptors{file->get()};
  if (leaf != nullptr)
    for (const int entry : leaf->entries()) descriptors.push_back(entry);
  if (!send_order(worker->child.control.get(), {{"start", true}}, descriptors))
    return std::nullopt;  // it has died; watch() hears of it
  SpawnedChild child = std::move(worker->child);
  child.pidfd.reset(worker->pidfd.release());
  workers_.erase(worker);
  counts_.standby_ended(domain::ExitReason::HandedOver);
  fill_in(kAfterATake);
  return child;
}

}  // namespace glowplug::runtime
