#include "runtime/fork_order.h"

#include <utility>
#include <vector>

#include <boost/json/object.hpp>

#include "runtime/order.h"
#include "runtime/state_orders.h"

namespace glowplug::runtime {

Result<SpawnedChild> order_fork(int template_control, const LaunchPlan& plan, const Leaf* leaf) {
  SpawnedChild child;
  ChildEnds ends;
  if (const Result<void> opened = open_channels(plan, child, ends); !opened) return opened.error();
  boost::json::object fields{{"fork", plan.endpoint.socket_path},
                             {"threads", plan.threads},
                             {"cores", plan.cores},
                             {"warm", plan.warm}};
  std::vector<int> descriptors{ends.control.get(), ends.lifeline.get(), ends.output.get()};
  if (leaf != nullptr && leaf->fd() >= 0) {
    fields["leaf"] = "directory";
    descriptors.push_back(leaf->fd());
  } else if (leaf != nullptr && !leaf->entries().empty()) {
    fields["leaf"] = "entries";
    for (const int entry : leaf->entries()) descriptors.push_back(entry);
  }
  UniqueFd primes;
  if (!plan.primes.empty() || plan.prime) {
    Result<UniqueFd> file = make_prime_file(plan.primes, plan.prime.get());
    if (!file) return file.error();
    primes = std::move(*file);
    fields["prime"] = true;
    descriptors.push_back(primes.get());
  }
  if (const Result<void> sent = send_order(template_control, fields, descriptors); !sent)
    return Error{sent.error().code, "the template: " + sent.error().message, {}};
  return child;
}

}  // namespace glowplug::runtime
