#include "models/model_users.h"

#include <set>
#include <utility>

namespace glowplug::models {

void ModelUsers::deploy(const std::string& function, const ModelWish& wish) {
  const std::lock_guard lock(mutex_);
  const auto found = uses_.find(function);
  if (found == uses_.end()) {
    uses_.emplace(function, Use{.now = wish});
  } else if (found->second.now != wish) {
    found->second.before = found->second.now;
    found->second.now = wish;
  }
}

void ModelUsers::hold(const std::string& function, std::vector<ModelWish> held) {
  const std::lock_guard lock(mutex_);
  if (const auto found = uses_.find(function); found != uses_.end())
    found->second.held = std::move(held);
}

void ModelUsers::remove(const std::string& function) {
  const std::lock_guard lock(mutex_);
  uses_.erase(function);
}

FunctionsOfDigest ModelUsers::by_digest(
    const std::function<std::string(const ModelWish&)>& digest_of) const {
  std::map<std::string, Use> uses;  // a copy: `digest_of` may look at files
  {
    const std::lock_guard lock(mutex_);
    uses = uses_;
  }
  FunctionsOfDigest functions;
  for (const auto& [function, use] : uses) {
    std::set<std::string> digests{digest_of(use.now)};
    if (use.before) digests.insert(digest_of(*use.before));
    for (const ModelWish& wish : use.held) digests.insert(digest_of(wish));
    digests.erase("");
    for (const std::string& digest : digests) functions[digest].push_back(function);
  }
  return functions;
}

}  // namespace glowplug::models
