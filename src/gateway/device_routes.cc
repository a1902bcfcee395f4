// GET /v1/admin/devices: what replicas may run on, what is reserved there, and by whom.
#include <chrono>

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include "gateway/routes.h"

namespace glowplug::gateway {
namespace {

namespace json = boost::json;

json::object device_object(const control::DeviceView& view, const GatewayOptions& options,
                           Time now) {
  const domain::Device& device = view.device;
  const std::uint64_t free =
      device.memory_bytes - std::min(device.memory_bytes, view.reserved_bytes);
  json::object object{{"id", device.name},
                      {"type", device.type},
                      {"origin", domain::to_string(device.origin)},
                      {"memory_bytes", device.memory_bytes},
                      {"reserved_bytes", view.reserved_bytes},
                      {"free_bytes", free},
                      {"functions", json::array(view.functions.begin(), view.functions.end())},
                      {"health", domain::to_string(view.health)},
                      {"failed_starts", view.failed_starts},
                      {"quarantined_ms", nullptr},
                      {"numa_node", nullptr}};
  if (view.quarantined_until)
    object["quarantined_ms"] =
        std::chrono::ceil<std::chrono::milliseconds>(*view.quarantined_until - now).count();
  if (device.numa_node) object["numa_node"] = *device.numa_node;
  if (!device.is_cpu()) return object;
  object["cores"] = options.cores;
  json::array nodes;
  for (const runtime::NumaNode& node : options.numa_nodes)
    nodes.emplace_back(json::object{
        {"node", node.node}, {"cores", node.cores}, {"memory_bytes", node.memory_bytes}});
  object["numa_nodes"] = std::move(nodes);
  return object;
}

}  // namespace

Reply get_devices(Exchange& exchange) {
  json::array data;
  for (const control::DeviceView& view : exchange.server.platform.devices())
    data.emplace_back(device_object(view, exchange.server.options, exchange.server.clock.now()));
  return json_reply(200,
                    json::serialize(json::object{{"object", "list"}, {"data", std::move(data)}}));
}

}  // namespace glowplug::gateway
