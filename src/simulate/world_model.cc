#include "simulate/world_model.h"

#include <fmt/format.h>

#include "base/fnv.h"
#include "base/result.h"
#include "simulate/seconds.h"

namespace glowplug::simulate {

const ModelProfile& profile_of(const WorldModel& model, const std::string& function) {
  GLOWPLUG_ASSERT(!model.models.empty());
  if (const auto told = model.functions.find(function); told != model.functions.end())
    for (const ModelProfile& one : model.models)
      if (one.name == told->second.model) return one;
  std::uint64_t shares = 0;
  for (const ModelProfile& one : model.models) shares += static_cast<std::uint64_t>(one.share);
  if (shares == 0) return model.models.front();
  std::uint64_t left = fnv(function) % shares;
  for (const ModelProfile& one : model.models) {
    if (left < static_cast<std::uint64_t>(one.share)) return one;
    left -= static_cast<std::uint64_t>(one.share);
  }
  return model.models.back();
}

domain::PriceTable prices_of(const WorldModel& model) {
  domain::PriceTable prices = model.prices;
  const domain::DevicePrice* here = domain::find_price(prices, model.machine.device);
  const domain::Price price = here != nullptr ? here->price : domain::Price{};
  std::erase_if(prices, [](const domain::DevicePrice& row) {
    return domain::same_device(row.device, domain::kCpu);
  });
  prices.push_back({std::string(domain::kCpu), price});
  return prices;
}

domain::Manifest manifest_of(const WorldModel& model, const std::string& function) {
  const auto told = model.functions.find(function);
  domain::Manifest manifest = told == model.functions.end() ? model.function : told->second;
  manifest.name = function;
  manifest.model = profile_of(model, function).name;
  return manifest;
}

domain::ModelFacts facts_of(const WorldModel& model, const std::string& function) {
  const ModelProfile& profile = profile_of(model, function);
  const std::string file =
      model.files == ModelFiles::Shared ? profile.name : profile.name + "-" + function;
  domain::ModelFacts facts;
  facts.path = file + ".gguf";
  facts.sha256 = fmt::format("{:016x}", fnv(file));
  facts.file_bytes = profile.file_bytes;
  facts.weight_bytes = profile.weight_bytes;
  facts.kv_bytes_per_token = profile.kv_bytes_per_token;
  facts.vocabulary = profile.vocabulary;
  return facts;
}

std::vector<DeviceSpeed> default_speeds() {
  return {{std::string(domain::kT4), 2},
          {std::string(domain::kA10G), 4},
          {std::string(domain::kA100), 10}};
}

double speed_of(const WorldModel& model, std::string_view device_type) {
  for (const DeviceSpeed& one : model.speeds)
    if (domain::same_device(one.type, device_type)) return one.factor;
  return 1;
}

Duration load_time(const WorldModel& model, const ModelProfile& profile) {
  const double gigabytes = static_cast<double>(profile.weight_bytes) / 1e9;
  return model.starts.exec +
         from_seconds(gigabytes * profile.load_s_per_gb.value_or(model.starts.load_s_per_gb));
}

}  // namespace glowplug::simulate
