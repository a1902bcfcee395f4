#include "app/world_settings.h"

#include <algorithm>
#include <set>

#include <boost/json.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "app/device_settings.h"
#include "app/price_settings.h"
#include "base/read_file.h"
#include "base/units.h"
#include "domain/errors.h"
#include "models/budget_fields.h"
#include "models/gguf_reader.h"
#include "models/manifest_fields.h"
#include "models/manifest_reader.h"
#include "models/yaml_document.h"

namespace glowplug::app {
namespace {

namespace json = boost::json;
using models::ManifestFields;
using models::shown;

constexpr std::size_t kNameBytesMax = 128, kPathBytesMax = 4096;
constexpr std::size_t kFunctionsMax = 10'000;  // told apart
constexpr std::size_t kModelsMax = 1000;
constexpr std::size_t kFaultsShown = 20;
constexpr double kRateMin = 0.001, kRateMax = 1e9;
// So that what all processes of all functions hold together can be counted.
constexpr std::uint64_t kSizeMax = std::uint64_t{1} << 50;  // of a machine, of a file
constexpr std::uint64_t kHeldMax = std::uint64_t{1} << 40;  // of a process, beside its weights
constexpr std::uint64_t kPerTokenMax = std::uint64_t{1} << 30;
constexpr int kVocabularyMax = 100'000'000;
constexpr Duration kStartMax = std::chrono::hours(24);

// One object of the file.
class WorldFields final {
 public:
  WorldFields(const json::object& object, std::string path, ManifestFields::Faults& faults)
      : fields_(object, std::move(path), faults) {}
  ManifestFields& fields() { return fields_; }

  void bytes(std::string_view key, std::uint64_t& into, std::uint64_t most = kSizeMax) {
    const json::value* value = fields_.find(key);
    if (value == nullptr) return;
    std::optional<std::uint64_t> read;
    if (value->is_string()) read = parse_bytes(std::string_view(value->get_string()));
    if (value->is_int64() && value->get_int64() >= 0)
      read = static_cast<std::uint64_t>(value->get_int64());
    if (!read)
      fields_.fault(key, fmt::format("must be a size such as 8GiB or 98MB, not {}", shown(*value)));
    else if (*read > most)
      fields_.fault(key,
                    fmt::format("must be {} at most, not {}", format_bytes(most), shown(*value)));
    else
      into = *read;
  }
  void duration(std::string_view key, Duration& into) {
    const json::value* value = fields_.find(key);
    if (value == nullptr) return;
    std::optional<Duration> read;
    if (value->is_string()) read = parse_duration(std::string_view(value->get_string()));
    if (read && *read <= kStartMax)
      into = *read;
    else
      fields_.fault(
          key, fmt::format("must be a duration up to a day such as 4.6ms, not {}", shown(*value)));
  }
  void number(std::string_view key, int& into, int low, int high) {
    fields_.read_int(key, into, {.low = low, .high = high});
  }
  void rate(std::string_view key, double& into) {
    const json::value* value = fields_.find(key);
    if (value == nullptr) return;
    const auto read = models::number_of(*value);
    if (read && *read >= kRateMin && *read <= kRateMax)
      into = *read;
    else
      fields_.fault(key, fmt::format("must be a number from {} to {:.0f}, not {}", kRateMin,
                                     kRateMax, shown(*value)));
  }
  void load_rate(std::string_view key, double& into) { fields_.read_number(key, into, -1e-9, 1e6); }
  void money(std::string_view key, domain::Money& into) {
    const json::value* value = fields_.find(key);
    if (value == nullptr) return;
    if (const auto read = models::budget_money(*value))
      into = *read;
    else
      fields_.fault(
          key, fmt::format("must be {}, not {}", models::budget_money_in_words(), shown(*value)));
  }
  // The object under a key, if it is there and one.
  const json::object* object(std::string_view key) {
    const json::value* value = fields_.find(key);
    if (value == nullptr) return nullptr;
    if (value->is_object()) return &value->get_object();
    fields_.fault(key, fmt::format("must be a mapping, not {}", shown(*value)));
    return nullptr;
  }

 private:
  ManifestFields fields_;
};

void read_machine(const json::object& object, ManifestFields::Faults& faults,
                  simulate::Machine& machine) {
  WorldFields from(object, "machine", faults);
  from.fields().refuse_unknown(
      {"memory", "template_memory", "page_cache", "spares", "cores", "device", "budget_per_hour"});
  from.bytes("memory", machine.memory_bytes);
  if (machine.memory_bytes == 0) from.fields().fault("memory", "must not be 0");
  machine.template_bytes = machine.memory_bytes / 4;
  from.bytes("template_memory", machine.template_bytes);
  machine.page_cache_bytes = machine.memory_bytes;
  from.bytes("page_cache", machine.page_cache_bytes);
  from.number("spares", machine.spares, 0, domain::kSparesMax);
  from.number("cores", machine.cores, 1, domain::kCoresMax);
  from.fields().read_text("device", machine.device, domain::kDeviceNameBytesMax);
  from.money("budget_per_hour", machine.budget_per_hour);
}

// What the model's own file says, where it is there; `folder` is where its path begins.
void read_header(WorldFields& from, const std::filesystem::path& folder,
                 simulate::ModelProfile& model) {
  std::string path;
  from.fields().read_text("gguf", path, kPathBytesMax);
  if (path.empty()) return;
  const auto facts = models::read_gguf((folder / path).string());
  if (!facts) return from.fields().fault("gguf", facts.error().message);
  model.file_bytes = facts->file_bytes;
  model.weight_bytes = facts->weight_bytes;
  model.kv_bytes_per_token = facts->kv_bytes_per_token;
  model.vocabulary = facts->vocabulary;
}

simulate::ModelProfile read_model(const json::object& object, const std::string& path,
                                  const std::filesystem::path& folder,
                                  ManifestFields::Faults& faults) {
  simulate::ModelProfile model;
  WorldFields from(object, path, faults);
  from.fields().refuse_unknown({"name", "share", "gguf", "file", "weights", "kv_per_token",
                                "vocabulary", "template", "forked", "executed", "threads",
                                "prefill_tokens_per_s", "step", "step_stream", "step_mixed",
                                "load_s_per_gb"});
  from.fields().read_text("name", model.name, kNameBytesMax);
  from.number("share", model.share, 0, 1'000'000);
  read_header(from, folder, model);
  const std::uint64_t file_bytes = model.file_bytes;
  from.bytes("file", model.file_bytes);
  if (model.file_bytes != file_bytes) model.weight_bytes = model.file_bytes;
  from.bytes("weights", model.weight_bytes);
  from.bytes("kv_per_token", model.kv_bytes_per_token, kPerTokenMax);
  int vocabulary = static_cast<int>(std::min<std::uint64_t>(kVocabularyMax, model.vocabulary));
  from.number("vocabulary", vocabulary, 0, kVocabularyMax);
  model.vocabulary = static_cast<std::uint64_t>(vocabulary);
  from.bytes("template", model.template_bytes, kHeldMax);
  from.bytes("forked", model.forked_bytes, kHeldMax);
  from.bytes("executed", model.executed_bytes, kHeldMax);
  from.number("threads", model.threads, 0, 4096);
  from.rate("prefill_tokens_per_s", model.prefill_tokens_per_s);
  if (from.fields().find("load_s_per_gb") != nullptr)
    from.load_rate("load_s_per_gb", model.load_s_per_gb.emplace(0));
  from.duration("step", model.step);
  from.duration("step_stream", model.step_stream);
  from.duration("step_mixed", model.step_mixed);
  if (model.step + model.step_stream <= Duration(0))
    from.fields().fault("step", "and step_stream must come to more than nothing");
  return model;
}

void read_models(const json::value& list, const std::filesystem::path& folder,
                 ManifestFields::Faults& faults, std::vector<simulate::ModelProfile>& models) {
  if (!list.is_array() || list.get_array().empty() || list.get_array().size() > kModelsMax) {
    faults.push_back(fmt::format("models: must be a list of 1 to {} models", kModelsMax));
    return;
  }
  models.clear();
  std::set<std::string> names;
  int shares = 0;
  for (const json::value& one : list.get_array()) {
    const std::string path = fmt::format("models[{}]", models.size());
    if (!one.is_object()) {
      faults.push_back(fmt::format("{}: must be a mapping, not {}", path, shown(one)));
      return;
    }
    models.push_back(read_model(one.get_object(), path, folder, faults));
    shares += models.back().share;
    if (!names.insert(models.back().name).second)
      faults.push_back(fmt::format("{}.name: \"{}\" is there already", path, models.back().name));
  }
  if (shares == 0) faults.push_back("models: one of them must have a share");
}

void read_starts(const json::object& object, ManifestFields::Faults& faults,
                 simulate::StartCosts& starts) {
  WorldFields from(object, "starts", faults);
  from.fields().refuse_unknown({"exec", "load_s_per_gb", "load_threads", "fork", "hand_over",
                                "first_call", "stop", "kill", "sleep", "wake", "jitter"});
  from.duration("exec", starts.exec);
  from.load_rate("load_s_per_gb", starts.load_s_per_gb);
  from.number("load_threads", starts.load_threads, 0, 4096);
  from.duration("fork", starts.fork);
  from.duration("hand_over", starts.hand_over);
  from.duration("first_call", starts.first_call);
  from.duration("stop", starts.stop);
  from.duration("kill", starts.kill);
  from.duration("sleep", starts.sleep);
  from.duration("wake", starts.wake);
  from.fields().read_number("jitter", starts.jitter, -1e-9, 3);
}

// What a manifest may say, but for name and model. False after a fault.
bool read_function(const json::object& object, const std::string& path,
                   ManifestFields::Faults& faults, domain::Manifest& function) {
  json::object whole = object;
  for (const char* fixed : {"apiVersion", "kind", "name", "model"}) {
    if (!whole.contains(fixed)) continue;
    faults.push_back(fmt::format("{}.{}: is given by the simulation; leave it out", path, fixed));
    return false;
  }
  whole["apiVersion"] = "glowplug.dev/v1";
  whole["kind"] = "Function";
  whole["model"] = "simulated.gguf";
  const auto read = models::read_manifest(json::serialize(whole), "function");
  if (!read)
    faults.push_back(fmt::format("{}: {}", path, read.error().message));
  else
    function = *read;
  return read.ok();
}

// Objects field by field, to any depth; all else is replaced.
void lay_over(json::object& under, const json::object& over) {
  for (const auto& field : over) {
    json::value& there = under[field.key()];
    if (there.is_object() && field.value().is_object())
      lay_over(there.get_object(), field.value().get_object());
    else
      there = field.value();
  }
}

// Each with what `function` says, but for the fields that it says itself. Where `function` has a
// fault, each of them would have it too: then only their models are looked at.
void read_functions(const json::object& functions, const json::object& common, bool common_holds,
                    ManifestFields::Faults& faults, simulate::WorldModel& world) {
  if (functions.size() > kFunctionsMax)
    return faults.push_back(fmt::format("functions: must be {} at most", kFunctionsMax));
  for (const auto& member : functions) {
    const std::string name(member.key().data(), member.key().size());
    const std::string path = "functions." + name.substr(0, kNameBytesMax);
    if (!member.value().is_object())
      return faults.push_back(path + ": must be a mapping, not " + shown(member.value()));
    json::object whole = common;
    lay_over(whole, member.value().get_object());
    const json::value named = whole.contains("model") ? whole["model"] : json::value();
    whole.erase("model");
    domain::Manifest& function = world.functions[name];
    if (common_holds) read_function(whole, path, faults, function);
    const auto is_named = [&named](const simulate::ModelProfile& one) {
      return named.is_string() && std::string_view(named.get_string()) == one.name;
    };
    if (std::none_of(world.models.begin(), world.models.end(), is_named))
      return faults.push_back(
          fmt::format("{}.model: must name one of models, not {}", path, shown(named)));
    function.model = named.get_string();
  }
}

void read_fleet(const json::value& rows, ManifestFields::Faults& faults,
                simulate::WorldModel& world) {
  auto devices = read_devices(rows, &world.prices, faults);
  if (!devices) return;
  for (const domain::Device& row : *devices)
    if (row.is_cpu()) faults.push_back("devices: the CPU is `machine` here; leave its row out");
  world.machine.devices = *std::move(devices);
}

void read_speeds(const json::object& object, ManifestFields::Faults& faults,
                 std::vector<simulate::DeviceSpeed>& speeds) {
  WorldFields from(object, "speeds", faults);
  for (const auto& member : object) {
    const std::string_view type(member.key().data(), member.key().size());
    if (!domain::is_device_name(type)) {
      from.fields().fault(type.substr(0, domain::kDeviceNameBytesMax), "is no type of a device");
      continue;
    }
    simulate::DeviceSpeed speed{.type = std::string(type)};
    from.rate(type, speed.factor);
    std::erase_if(speeds, [type](const auto& one) { return domain::same_device(one.type, type); });
    speeds.push_back(std::move(speed));
  }
}

void read_whole(const json::object& object, const std::filesystem::path& folder,
                ManifestFields::Faults& faults, simulate::WorldModel& world) {
  WorldFields from(object, "", faults);
  from.fields().refuse_unknown({"machine", "devices", "speeds", "models", "files", "starts",
                                "transfers", "gateway", "function", "functions", "prices"});
  const json::object* machine = from.object("machine");
  if (machine != nullptr) read_machine(*machine, faults, world.machine);
  if (const json::value* models = from.fields().find("models"))
    read_models(*models, folder, faults, world.models);
  from.fields().read_choice(
      "files", world.files,
      {{"own", simulate::ModelFiles::OfEachFunction}, {"shared", simulate::ModelFiles::Shared}});
  if (const json::object* starts = from.object("starts"))
    read_starts(*starts, faults, world.starts);
  if (const json::object* transfers = from.object("transfers")) {
    WorldFields rates(*transfers, "transfers", faults);
    rates.fields().refuse_unknown({"read_mb_per_s", "fetch_mb_per_s", "verify_mb_per_s"});
    rates.rate("read_mb_per_s", world.transfers.read_mb_per_s);
    rates.rate("fetch_mb_per_s", world.transfers.fetch_mb_per_s);
    rates.rate("verify_mb_per_s", world.transfers.verify_mb_per_s);
  }
  from.duration("gateway", world.gateway);
  const json::object nothing;
  const json::object* function = from.object("function");
  const bool holds =
      function == nullptr || read_function(*function, "function", faults, world.function);
  if (const json::object* functions = from.object("functions"))
    read_functions(*functions, function == nullptr ? nothing : *function, holds, faults, world);
  if (const json::value* prices = from.fields().find("prices"))
    if (auto table = read_prices(*prices, faults)) world.prices = std::move(*table);
  if (const json::value* rows = from.fields().find("devices")) read_fleet(*rows, faults, world);
  if (const json::object* speeds = from.object("speeds"))
    read_speeds(*speeds, faults, world.speeds);
  if (machine == nullptr || !machine->contains("memory")) make_room_for_devices(world.machine);
  if (domain::find_price(world.prices, world.machine.device) == nullptr)
    faults.push_back(
        fmt::format("machine.device: {} has no price; add it to prices", world.machine.device));
}

}  // namespace

void make_room_for_devices(simulate::Machine& machine) {
  for (const domain::Device& row : machine.devices)
    machine.memory_bytes += row.memory_bytes * static_cast<std::uint64_t>(row.count);
}

Result<simulate::WorldModel> read_world(std::string_view text,
                                        const std::filesystem::path& folder) {
  simulate::WorldModel world;
  const auto document = models::parse_document(text);
  if (!document) return document.error();
  if (!document->is_object())
    return Error{std::string(domain::error::kInvalidValue),
                 "the model is a mapping of keys, not " + shown(*document), "model"};
  ManifestFields::Faults faults;
  read_whole(document->get_object(), folder, faults, world);
  if (faults.empty()) return world;
  if (faults.size() > kFaultsShown) {
    const std::size_t more = faults.size() - kFaultsShown;
    faults.resize(kFaultsShown);
    faults.push_back(fmt::format("and {} more", more));
  }
  return Error{std::string(domain::error::kInvalidValue),
               fmt::format("{}", fmt::join(faults, "; ")), "model"};
}

Result<simulate::WorldModel> read_world_file(const std::string& path) {
  const auto text = read_file(path);
  if (!text)
    return Error{std::string(domain::error::kInvalidValue),
                 fmt::format("'{}' cannot be read", path), "model"};
  auto world = read_world(*text, std::filesystem::path(path).parent_path());
  if (world) return world;
  return Error{world.error().code, fmt::format("{}: {}", path, world.error().message), "model"};
}

}  // namespace glowplug::app
