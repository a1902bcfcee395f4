#include "simulate/run.h"

#include <algorithm>

namespace glowplug::simulate {

void pass(World& world, Time until, Interruption* interruption) {
  while (interruption != nullptr) {
    const std::optional<Time> at = interruption->next();
    if (!at || *at > until) break;
    world.run_until(std::max(*at, world.now()));
    interruption->act();
  }
  world.run_until(until);
}

void settle(World& world, Time limit, Interruption* interruption) {
  while (world.calls_open() > 0 && world.now() < limit) {
    std::optional<Time> at = world.next();
    if (interruption != nullptr)
      if (const auto other = interruption->next(); other && (!at || *other < *at)) at = other;
    if (!at) return;
    pass(world, std::min(*at, limit), interruption);
  }
}

Result<std::uint64_t> play(World& world, RequestSource& source, const RunOptions& options) {
  const Time beginning = world.now();
  std::vector<std::uint32_t> deployed;  // in the world, by the source's number
  std::uint64_t count = 0;
  while (!options.stop || !options.stop()) {
    Result<std::optional<Request>> read = source.next();
    if (!read) return read.error();
    const std::vector<std::string>& names = source.functions();
    while (deployed.size() < names.size()) {
      const std::string& name = names[deployed.size()];
      const std::optional<std::uint32_t> known = world.find(name);
      deployed.push_back(known ? *known : world.deploy(name));
    }
    if (!*read) break;
    Request request = **read;
    pass(world, std::max(world.now(), beginning + request.at), options.interruption);
    request.function = deployed.at(request.function);
    world.arrive(request);
    ++count;
  }
  return count;
}

}  // namespace glowplug::simulate
