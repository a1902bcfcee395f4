#include <algorithm>
#include <chrono>
#include <map>

#include <fmt/format.h>

#include "base/units.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/json_fields.h"
#include "cli/table.h"
#include "cli/wait.h"

namespace glowplug::cli {
namespace {

namespace json = boost::json;
constexpr Duration kLookInterval = std::chrono::milliseconds(200);

int not_held(const Context& context, const std::string& message) {
  report_error(context, {"not_found", message, ""});
  return to_int(ExitCode::NotFound);
}

std::uint64_t bytes_field(const json::value& object, std::string_view name) {
  return static_cast<std::uint64_t>(number_field(object, name));
}

bool flag(const json::value& object, std::string_view name) {
  const json::value* found = field(object, name);
  return found != nullptr && found->is_bool() && found->get_bool();
}

std::vector<std::string> texts(const json::value& object, std::string_view name) {
  std::vector<std::string> out;
  const json::value* found = field(object, name);
  if (found == nullptr || !found->is_array()) return out;
  for (const json::value& one : found->get_array())
    if (one.is_string()) out.emplace_back(one.get_string());
  return out;
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : ", ") + word;
  return out.empty() ? "-" : out;
}

std::string ago(const json::value& blob, std::string_view name, WallTime now) {
  const auto at = static_cast<std::int64_t>(number_field(blob, name));
  if (at == 0) return "-";
  const auto ms = std::max<std::int64_t>(0, now.time_since_epoch().count() - at);
  // Of what is long past, the seconds are noise.
  const auto whole = ms < 60'000 ? ms / 1000 * 1000 : ms / 60'000 * 60'000;
  return format_duration(std::chrono::milliseconds(whole)) + " ago";
}

std::string held(const json::value& bytes, std::string_view key) {
  return format_bytes(bytes_field(bytes, key));
}

std::string totals(const json::value& cache) {
  const json::value none = json::object{};
  const auto part = [&](std::string_view name) -> const json::value& {
    const json::value* found = field(cache, name);
    return found == nullptr ? none : *found;
  };
  const json::value& disk = part("disk");
  const json::value& memory = part("memory");
  const json::value& held_by_templates = part("template");
  const std::uint64_t budget = bytes_field(disk, "budget_bytes");
  std::string text = fmt::format("disk      {} of {}, {} free ({} stay free)", held(disk, "bytes"),
                                 budget == 0 ? std::string("no budget") : format_bytes(budget),
                                 held(disk, "free_bytes"), held(disk, "free_bytes_min"));
  if (bytes_field(disk, "quarantined_bytes") > 0)
    text += fmt::format("; {} in quarantine", held(disk, "quarantined_bytes"));
  text += fmt::format("\nmemory    {} of {}\ntemplate  {} of {}\n", held(memory, "resident_bytes"),
                      held(memory, "machine_bytes"), held(held_by_templates, "bytes"),
                      held(held_by_templates, "budget_bytes"));
  if (const json::value* prompts = field(cache, "prompts"); prompts && prompts->is_object())
    text += fmt::format("prompts   {} of {}, {} copies; of the last used {} in memory\n",
                        held(*prompts, "bytes"), held(*prompts, "budget_bytes"),
                        number_field(*prompts, "copies"), held(*prompts, "memory_bytes"));
  return text;
}

// The rows that `model` names: by source or function, or by the beginning of a digest.
std::vector<json::value> named(const json::array& blobs, const std::string& model) {
  std::vector<json::value> exact, begun;
  for (const json::value& blob : blobs) {
    const std::string sha256 = text_field(blob, "sha256");
    const auto has = [&](std::string_view key) {
      const auto words = texts(blob, key);
      return std::find(words.begin(), words.end(), model) != words.end();
    };
    if (sha256 == model || has("names") || has("functions")) exact.push_back(blob);
    if (model.size() >= 6 && sha256.starts_with(model)) begun.push_back(blob);
  }
  return exact.empty() ? begun : exact;
}

struct Chosen {
  int exit = 0;
  std::string sha256;
};

Chosen choose(const Context& context, const std::string& model) {
  const Fetched got = fetch(context, context.admin, {.target = "/v1/admin/cache"});
  if (got.exit != 0) return {.exit = got.exit, .sha256 = {}};
  const auto found = named(data_of(got.body), model);
  if (found.size() == 1) return {.sha256 = text_field(found.front(), "sha256")};
  const std::string message =
      found.empty()
          ? fmt::format("the cache holds nothing named '{}'; glowplug cache lists all", model)
          : fmt::format("'{}' names {} model files; give the beginning of a digest", model,
                        found.size());
  return {.exit = not_held(context, message), .sha256 = {}};
}

int change(const Context& context, const std::string& model, const std::string& method,
           const std::string& suffix, const std::string& outcome) {
  const Chosen chosen = choose(context, model);
  if (chosen.exit != 0) return chosen.exit;
  const Fetched got =
      fetch(context, context.admin,
            {.method = method, .target = "/v1/admin/cache/" + chosen.sha256 + suffix});
  if (got.exit != 0) return got.exit;
  if (context.json)
    print_json(context, json::object{{"sha256", chosen.sha256}, {"status", outcome}});
  else
    context.console.out << model << " (" << chosen.sha256.substr(0, 12) << ") is " << outcome
                        << std::endl;
  return 0;
}

// Asks for each, then looks until each was verified anew or is gone from the list.
int verify(const Context& context, const std::string& model) {
  Fetched got = fetch(context, context.admin, {.target = "/v1/admin/cache"});
  if (got.exit != 0) return got.exit;
  std::map<std::string, double> before;
  for (const json::value& blob : data_of(got.body)) {
    const json::array one{blob};
    if (flag(blob, "in_cache") && (model.empty() || !named(one, model).empty()))
      before[text_field(blob, "sha256")] = number_field(blob, "verified_ms");
  }
  if (before.empty() && !model.empty())
    return not_held(
        context,
        fmt::format("the cache holds nothing named '{}'; glowplug cache lists all", model));
  for (const auto& [sha256, verified_ms] : before) {
    const Fetched asked =
        fetch(context, context.admin,
              {.method = "POST", .target = "/v1/admin/cache/" + sha256 + "/verify"});
    if (asked.exit != 0) return asked.exit;
  }
  json::array results;
  bool damaged = false;
  while (!before.empty()) {
    got = fetch(context, context.admin, {.target = "/v1/admin/cache"});
    if (got.exit != 0) return got.exit;
    std::map<std::string, double> now;
    for (const json::value& blob : data_of(got.body))
      if (flag(blob, "in_cache"))
        now[text_field(blob, "sha256")] = number_field(blob, "verified_ms");
    for (auto it = before.begin(); it != before.end();) {
      const auto found = now.find(it->first);
      if (found != now.end() && found->second <= it->second) {
        ++it;
        continue;
      }
      const bool whole = found != now.end();
      damaged = damaged || !whole;
      const char* status = whole ? "verified" : "damaged, moved aside; the next start fetches it";
      results.push_back(json::object{{"sha256", it->first}, {"whole", whole}});
      if (!context.json)
        context.console.out << it->first.substr(0, 12) << "  " << status << std::endl;
      it = before.erase(it);
    }
    if (!before.empty() && !pause(context, kLookInterval)) return to_int(ExitCode::Failed);
  }
  if (context.json) print_json(context, results);
  return to_int(damaged ? ExitCode::Failed : ExitCode::Done);
}

}  // namespace

std::string cache_table(const json::value& cache, WallTime now) {
  const json::array blobs = data_of(cache);
  if (blobs.empty()) return "no models are held\n\n" + totals(cache);
  std::vector<std::vector<std::string>> rows;
  for (const json::value& blob : blobs) {
    const auto bytes = bytes_field(blob, "bytes");
    const auto resident = bytes_field(blob, "resident_bytes");
    rows.push_back({text_field(blob, "sha256").substr(0, 12), joined(texts(blob, "names")),
                    format_bytes(bytes),
                    fmt::format("{} %", bytes == 0 ? 0 : resident * 100 / bytes),
                    bytes_field(blob, "template_bytes") == 0 ? "-" : held(blob, "template_bytes"),
                    text_field(blob, "replicas"),
                    flag(blob, "pinned")     ? "pinned"
                    : flag(blob, "in_cache") ? "-"
                                             : "own file",
                    text_field(blob, "uses"), ago(blob, "last_used_ms", now),
                    ago(blob, "verified_ms", now), joined(texts(blob, "functions"))});
  }
  return layout_table({{"DIGEST"},
                       {"NAMES"},
                       {"DISK", Align::Right},
                       {"MEMORY", Align::Right},
                       {"TEMPLATE", Align::Right},
                       {"REPLICAS", Align::Right},
                       {"PIN"},
                       {"USES", Align::Right},
                       {"LAST-USED", Align::Right},
                       {"VERIFIED", Align::Right},
                       {"FUNCTIONS"}},
                      rows) +
         "\n" + totals(cache);
}

int cache(const Context& context, const CacheOptions& options) {
  if (options.verb == "pin") return change(context, options.model, "POST", "/pin", "pinned");
  if (options.verb == "unpin") return change(context, options.model, "POST", "/unpin", "unpinned");
  if (options.verb == "evict") return change(context, options.model, "DELETE", "", "evicted");
  if (options.verb == "verify") return verify(context, options.model);
  const Fetched got = fetch(context, context.admin, {.target = "/v1/admin/cache"});
  if (got.exit != 0) return got.exit;
  if (context.json)
    print_json(context, got.body);
  else
    context.console.out << cache_table(got.body, context.clock.wall_now()) << std::flush;
  return 0;
}

}  // namespace glowplug::cli
