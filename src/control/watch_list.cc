#include "control/watch_list.h"

#include <iterator>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "domain/errors.h"
#include "domain/limits.h"

namespace glowplug::control {

Result<domain::WatchId> WatchList::add(const std::string& function, const FunctionStatus& now,
                                       Told told) {
  if (watchers_.size() >= domain::kWatchersMax) {
    return Error{std::string(domain::error::kServerIsOverloaded),
                 fmt::format("{} event streams are open, the most this server keeps; close one, or "
                             "ask GET /v1/functions/{} now and then",
                             watchers_.size(), function),
                 ""};
  }
  const domain::WatchId watch{++last_watch_};
  watchers_.emplace(watch, Watcher{function, std::move(told)});
  ++functions_.try_emplace(function, Watched{.last = now}).first->second.watchers;
  return watch;
}

void WatchList::remove(domain::WatchId watch) {
  const auto watcher = watchers_.find(watch);
  if (watcher == watchers_.end()) return;
  const auto watched = functions_.find(watcher->second.function);
  if (watched != functions_.end() && --watched->second.watchers == 0) functions_.erase(watched);
  watchers_.erase(watcher);
}

void WatchList::look(const StatusOf& status_of) {
  std::map<std::string, Change> changes;
  for (auto watched = functions_.begin(); watched != functions_.end();) {
    std::optional<FunctionStatus> now = status_of(watched->first);
    const Change change = now ? change_between(watched->second.last, *now) : Change::Deleted;
    if (change != Change::None) changes.emplace(watched->first, change);
    if (now) watched->second.last = std::move(*now);
    watched = now ? std::next(watched) : functions_.erase(watched);
  }
  if (changes.empty()) return;
  std::vector<std::pair<domain::WatchId, Change>> to_tell;
  for (auto& [watch, watcher] : watchers_) {
    const auto change = changes.find(watcher.function);
    if (change == changes.end()) continue;
    to_tell.emplace_back(watch, change->second);
    // The name may be deployed anew while the others are told: that is another function.
    if (change->second == Change::Deleted) watcher.function.clear();
  }
  for (const auto& [watch, change] : to_tell) {
    const auto watcher = watchers_.find(watch);
    if (watcher == watchers_.end()) continue;  // left while others were told
    const Told told = watcher->second.told;    // a copy: it may remove itself
    if (change == Change::Deleted) watchers_.erase(watcher);
    told(change);
  }
}

}  // namespace glowplug::control
