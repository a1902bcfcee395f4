#include "models/model_users.h"

namespace glowplug::models {

void ModelUsers::deploy(const std::string& function, const ModelWish& wish) {
  const std::lock_guard lock(mutex_);
  const auto found = uses_.find(function);
  if (found == uses_.end()) {
    uses_.emplace(function, Use{wish, std::nullopt});
  } else if (found->second.now != wish) {
    found->second.before = found->second.now;
    found->second.now = wish;
  }
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
    const std::string now = digest_of(use.now);
    const std::string before = use.before ? digest_of(*use.before) : std::string();
    if (!now.empty()) functions[now].push_back(function);
    if (!before.empty() && before != now) functions[before].push_back(function);
  }
  return functions;
}

}  // namespace glowplug::models
