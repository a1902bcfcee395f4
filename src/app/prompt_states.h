// Prompt states between replicas and the store: what a replica may remember is told to it when it
// is bound to a cache domain, what it has copied is kept under that domain, and what it asks for is
// looked up there and nowhere else.
//
// Thread: the server loop; files are written and read on a pool, whose outcomes come back to the
// loop. Without a store nothing is remembered.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>

#include "base/unique_fd.h"
#include "control/effects.h"
#include "control/events.h"
#include "domain/cache_domain.h"
#include "models/prompt_store.h"
#include "runtime/supervisor.h"

namespace glowplug::app {

class PromptStates final {
 public:
  // Told what kept prompts of the replica's domain begin with, where enough of them do.
  using OnShared = std::function<void(control::BeginningShared)>;
  // All outlive this object, the store may be null.
  PromptStates(boost::asio::io_context& loop, models::PromptStore* store, std::string engine,
               OnShared on_shared);

  void started(const control::StartProcess& start);
  void bind(const control::BindReplica& effect, runtime::Supervisor& supervisor);
  void keep(domain::ProcessId process, std::vector<runtime::KeptCopy> copies,
            runtime::Supervisor& supervisor);
  void give(domain::ProcessId process, std::uint64_t state, runtime::Supervisor& supervisor);
  void gone(domain::ProcessId process) { replicas_.erase(process); }

  void finish();  // what is being kept is kept

 private:
  struct Replica {
    models::StateFit fit;
    models::StateOwner owner;       // empty until it is bound
    std::size_t being_written = 0;  // of its states
  };

  // Beginnings that prompts of one owner shared, and how many did; the latest first.
  struct Seen {
    std::vector<std::int32_t> tokens;
    std::size_t prompts = 0;
  };
  using Beginnings = std::vector<Seen>;

  void learn(const Replica& replica, std::vector<Seen> seen);
  void tell(domain::ProcessId process, const Replica& replica, runtime::Supervisor& supervisor);
  Replica* find(domain::ProcessId process);
  void expire_now_and_then();

  boost::asio::io_context& loop_;
  models::PromptStore* store_;
  std::string engine_;
  OnShared on_shared_;
  std::map<domain::ProcessId, Replica> replicas_;
  std::map<std::string, Beginnings> learned_;  // by owner and what fits; of this run of the server
  boost::asio::steady_timer expiry_;
  boost::asio::thread_pool files_{2};
};

// The name that stands for a cache domain in the store; a salt is a caller's secret and stays one.
models::StateOwner owner_of(const domain::CacheDomain& domain);

// What must be the same for a state to fit.
models::StateFit fit_of(const control::StartProcess& start, const std::string& engine);

}  // namespace glowplug::app
