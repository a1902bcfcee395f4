// Who watches which function, and what each was last told of it.
//
// After each turn of the brain look() compares a small status of every watched function, once per
// function however many watch it; without watchers it does nothing. It keeps no queue: a watcher
// learns that something changed and asks for what it is now.
//
// Thread: one owner, the server loop. A callback may watch, unwatch and ask the platform for
// anything. Does not know streams.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "base/result.h"
#include "control/views.h"
#include "domain/ids.h"

namespace glowplug::control {

class WatchList final {
 public:
  using Told = std::function<void(Change)>;
  using StatusOf = std::function<std::optional<FunctionStatus>(const std::string& function)>;

  // `now` is the function's present status. server_is_overloaded at kWatchersMax.
  Result<domain::WatchId> add(const std::string& function, const FunctionStatus& now, Told told);
  void remove(domain::WatchId watch);  // unknown ids: nothing

  void look(const StatusOf& status_of);
  std::size_t size() const { return watchers_.size(); }

 private:
  struct Watched {
    FunctionStatus last;
    int watchers = 0;
  };
  struct Watcher {
    std::string function;
    Told told;
  };

  std::map<std::string, Watched> functions_;
  std::map<domain::WatchId, Watcher> watchers_;
  std::uint64_t last_watch_ = 0;
};

}  // namespace glowplug::control
