#include "app/device_settings.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <fmt/format.h>

#include "base/units.h"
#include "domain/limits.h"

namespace glowplug::app {
namespace {

namespace json = boost::json;
using domain::Device;
using domain::same_device;
using models::ManifestFields;
using models::shown;

constexpr const char* kRowExample = "{type: A10G, memory: 24GiB, count: 4}";

// Words that a manifest's resources.device understands already.
bool is_reserved(std::string_view name) {
  return same_device(name, "auto") || same_device(name, "gpu") || same_device(name, "cuda");
}

// Empty after a fault, or where the key is absent.
std::string read_name(ManifestFields& row, std::string_view key) {
  std::string name;
  const std::size_t before = row.faults().size();
  row.read_text(key, name, domain::kDeviceNameBytesMax);
  if (row.faults().size() != before || row.find(key) == nullptr) return {};
  if (domain::is_device_name(name) && !is_reserved(name)) return name;
  row.fault(key, fmt::format("must be up to {} letters, digits, ., _ and -, and not auto, gpu or "
                             "cuda, which mean something else in a manifest",
                             domain::kDeviceNameBytesMax));
  return {};
}

std::uint64_t read_memory(ManifestFields& row, const Device& device) {
  const json::value* value = row.find("memory");
  if (value == nullptr) {
    const auto usual = domain::usual_memory(device.type);
    if (!usual && !device.is_cpu())
      row.fault("memory", fmt::format("is missing, and how much a {} has is not known; write a "
                                      "size such as 24GiB",
                                      device.type));
    return usual.value_or(0);
  }
  std::optional<std::uint64_t> bytes;
  if (value->is_string()) bytes = parse_bytes(std::string_view(value->get_string()));
  if (value->is_int64() && value->get_int64() > 0)
    bytes = static_cast<std::uint64_t>(value->get_int64());
  if (bytes && *bytes > 0 && *bytes <= domain::kDeviceMemoryMax) return *bytes;
  row.fault("memory", fmt::format("must be a size such as 24GiB, above zero and up to {}, not {}",
                                  format_bytes(domain::kDeviceMemoryMax), shown(*value)));
  return 0;
}

// A row that stands on its own; a faulty one is told and left out.
std::optional<Device> read_row(ManifestFields& row, const domain::PriceTable* prices) {
  const std::size_t before = row.faults().size();
  row.refuse_unknown({"name", "type", "memory", "count"});
  if (row.find("type") == nullptr)
    row.fault("type", fmt::format("is missing; write a row as {}", kRowExample));
  Device device{.type = read_name(row, "type")};
  device.name = row.find("name") != nullptr ? read_name(row, "name") : device.type;
  row.read_int("count", device.count, {1, domain::kDevicesMax});
  if (row.faults().size() != before) return std::nullopt;
  device.memory_bytes = read_memory(row, device);
  if (prices != nullptr && domain::find_price(*prices, device.type) == nullptr)
    row.fault("type", fmt::format("is {}, which has no price; add one as prices: {{{}: {{per_hour: "
                                  "2, per_request: 0.0004}}}}",
                                  device.type, device.type));
  if (device.is_cpu() && device.count != 1)
    row.fault("count", "of a CPU is 1: it is this machine; leave it out");
  if (device.is_cpu() != same_device(device.name, domain::kCpu))
    row.fault("name", "of the CPU is CPU, and of nothing else; leave it out");
  if (row.faults().size() != before) return std::nullopt;
  if (device.is_cpu()) device.name = device.type = std::string(domain::kCpu);
  return device;
}

// Why a row cannot stand beside an earlier one; empty when it can.
std::string clash(const Device& row, const Device& other, std::size_t other_at) {
  const auto where = fmt::format("devices[{}]", other_at);
  if (row.is_cpu() && other.is_cpu())
    return fmt::format("is a second CPU beside {}; there is one, which is this machine", where);
  if (same_device(row.name, other.name)) {
    if (row.memory_bytes == other.memory_bytes && same_device(row.type, other.type))
      return fmt::format("is the same as {}; raise the count there", where);
    return fmt::format(
        "is called {} as {} is, which has {} of {} each; give each row a name of "
        "its own",
        row.name, where, other.type, format_bytes(other.memory_bytes));
  }
  if (same_device(row.name, other.type) || same_device(other.name, row.type))
    return fmt::format("and {} mean different things by {}; choose another name", where,
                       same_device(row.name, other.type) ? row.name : other.name);
  return {};
}

}  // namespace

std::optional<std::vector<Device>> read_devices(const json::value& rows,
                                                const domain::PriceTable* prices,
                                                ManifestFields::Faults& faults) {
  const std::size_t before = faults.size();
  if (!rows.is_array()) {
    faults.push_back(
        fmt::format("devices: must be a list of rows as {}, not {}", kRowExample, shown(rows)));
    return std::nullopt;
  }
  std::vector<Device> devices;
  std::vector<std::size_t> places;  // in the list, which has faulty rows too
  std::size_t count = 0;
  for (std::size_t i = 0; i < rows.get_array().size(); ++i) {
    const json::value& value = rows.get_array()[i];
    const std::string path = fmt::format("devices[{}]", i);
    if (!value.is_object()) {
      faults.push_back(fmt::format("{}: must be as {}, not {}", path, kRowExample, shown(value)));
      continue;
    }
    ManifestFields fields(value.get_object(), path, faults);
    std::optional<Device> row = read_row(fields, prices);
    if (!row) continue;
    for (std::size_t other = 0; other < devices.size(); ++other) {
      const std::string why = clash(*row, devices[other], places[other]);
      if (why.empty()) continue;
      faults.push_back(fmt::format("{} {}", path, why));
      break;
    }
    count += static_cast<std::size_t>(row->count);
    devices.push_back(*std::move(row));
    places.push_back(i);
  }
  if (count > domain::kDevicesMax)
    faults.push_back(fmt::format("devices: are {} together; at most {} are accepted", count,
                                 domain::kDevicesMax));
  if (faults.size() != before) return std::nullopt;
  return devices;
}

}  // namespace glowplug::app
