#include "app/price_settings.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include <boost/json/object.hpp>
#include <fmt/format.h>

#include "base/units.h"
#include "domain/limits.h"

namespace glowplug::app {
namespace {

namespace json = boost::json;
using models::ManifestFields;
using models::shown;

constexpr const char* kRowExample = "{per_hour: 0.5, per_request: 0.0001}";

domain::Money read_amount(ManifestFields& row, std::string_view key) {
  const json::value* value = row.find(key);
  if (value == nullptr) {
    row.fault(key, "is missing; write 0 where it costs nothing");
    return {};
  }
  const std::optional<double> units = models::number_of(*value);
  const auto micros = units && *units <= domain::kPriceMax ? micros_of(*units) : std::nullopt;
  if (!micros)
    row.fault(key,
              fmt::format("must be a number from 0 to {} with six decimals at most, as {}, "
                          "not {}",
                          domain::kPriceMax, key == "per_hour" ? "0.5" : "0.0001", shown(*value)));
  return {micros.value_or(0)};
}

// The file's rows; a faulty one is told and left out.
domain::PriceTable read_rows(const json::object& rows, ManifestFields& table) {
  domain::PriceTable read;
  for (const auto& member : rows) {
    const std::string_view device(member.key().data(), member.key().size());
    const domain::DevicePrice* twin = domain::find_price(read, device);
    if (!domain::is_device_name(device)) {
      table.fault(device.substr(0, domain::kDeviceNameBytesMax),
                  fmt::format("is no device's name; use up to {} letters, digits, ., _ and -",
                              domain::kDeviceNameBytesMax));
    } else if (twin != nullptr) {
      table.fault(device, fmt::format("is the same device as {}; leave one out", twin->device));
    } else if (!member.value().is_object()) {
      table.fault(device, fmt::format("must be as {}, not {}", kRowExample, shown(member.value())));
    } else {
      ManifestFields row(member.value().get_object(), table.path_of(device), table.faults());
      row.refuse_unknown({"per_hour", "per_request"});
      const domain::Money per_hour = read_amount(row, "per_hour");
      const domain::Money per_request = read_amount(row, "per_request");
      read.push_back({std::string(device), {.per_hour = per_hour, .per_request = per_request}});
    }
  }
  return read;
}

}  // namespace

std::optional<domain::PriceTable> read_prices(const json::value& rows,
                                              ManifestFields::Faults& faults) {
  const std::size_t faults_before = faults.size();
  if (!rows.is_object()) {
    faults.push_back(fmt::format("prices: must be a mapping of devices, as T4: {}, not {}",
                                 kRowExample, shown(rows)));
    return std::nullopt;
  }
  ManifestFields table(rows.get_object(), "prices", faults);
  domain::PriceTable prices = domain::default_prices();
  for (domain::DevicePrice& row : read_rows(rows.get_object(), table)) {
    const auto replaced = std::find_if(prices.begin(), prices.end(), [&row](const auto& other) {
      return domain::same_device(row.device, other.device);
    });
    if (replaced == prices.end())
      prices.push_back(std::move(row));
    else
      *replaced = std::move(row);
  }
  if (prices.size() > domain::kPricesMax)
    faults.push_back(
        fmt::format("prices: makes {} devices with those of the default; at most {} "
                    "are accepted",
                    prices.size(), domain::kPricesMax));
  if (faults.size() != faults_before) return std::nullopt;
  return prices;
}

}  // namespace glowplug::app
