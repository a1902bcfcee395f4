#include "storage/usage_row.h"

#include <initializer_list>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include "base/utc_day.h"
#include "domain/errors.h"
#include "storage/job_text.h"
#include "storage/row_checksum.h"

namespace glowplug::storage {
namespace {

namespace json = boost::json;
using domain::Phase;

Duration sum_of(const domain::PhaseTimes& times, std::initializer_list<Phase> phases) {
  Duration sum{};
  for (const Phase phase : phases) sum += times[phase].value_or(Duration(0));
  return sum;
}

json::object phases_object(const domain::PhaseTimes& times) {
  const Duration cold =
      sum_of(times, {Phase::Fetch, Phase::Verify, Phase::Load, Phase::Fork, Phase::Restore});
  return {{"queue", to_seconds(sum_of(times, {Phase::Queue}))},
          {"cold", to_seconds(cold)},
          {"prefill", to_seconds(sum_of(times, {Phase::Prefill}))},
          {"decode", to_seconds(sum_of(times, {Phase::Decode}))}};
}

json::array devices_array(const domain::Receipt& receipt) {
  json::array lines;
  for (const domain::DeviceLine& line : receipt.devices)
    lines.emplace_back(json::object{{"device", line.device},
                                    {"per_hour_micros", line.per_hour.micros},
                                    {"seconds", to_seconds(line.time)},
                                    {"cost_micros", line.cost.micros}});
  return lines;
}

json::value text_or_null(const std::string& text) {
  return text.empty() ? json::value(nullptr) : json::value(text);
}

json::object receipt_object(const domain::Receipt& receipt, const UsageRow& row) {
  return {{"object", "receipt"},
          {"request", receipt.request},
          {"job", receipt.job ? json::value(to_text(*receipt.job)) : json::value(nullptr)},
          {"function", receipt.function},
          {"revision", receipt.revision},
          {"key", text_or_null(receipt.key)},
          {"at_ms", row.at_ms},
          {"day", row.day},
          {"terminal", receipt.terminal},
          {"status", receipt.status},
          {"attempts", receipt.attempts},
          {"cold", receipt.cold},
          {"phases_s", phases_object(receipt.phases)},
          {"tokens", json::object{{"prompt", receipt.prompt_tokens},
                                  {"cached", receipt.cached_tokens},
                                  {"completion", receipt.completion_tokens}}},
          {"byte_seconds", receipt.byte_seconds},
          {"idle_byte_seconds", receipt.idle_byte_seconds},
          {"devices", devices_array(receipt)},
          {"device_ms", row.device_ms},
          {"fee", json::object{{"device", text_or_null(receipt.fee_device)},
                               {"cost_micros", receipt.fee.micros}}},
          {"cost_micros", receipt.cost.micros},
          {"platform_micros", receipt.platform.micros}};
}

// Members of one object; what is absent or of another kind is a fault, told at the end.
class Members final {
 public:
  explicit Members(const json::object& object) : object_(object) {}

  std::string text(std::string_view name) {
    const json::value* value = find(name);
    if (value != nullptr && value->is_string()) return std::string(value->get_string());
    if (value == nullptr || !value->is_null()) fails_ = true;
    return {};
  }
  std::int64_t number(std::string_view name) {
    const json::value* value = find(name);
    if (value != nullptr && value->is_int64()) return value->get_int64();
    if (value == nullptr || !value->is_null()) fails_ = true;
    return 0;
  }
  const json::object* object(std::string_view name) {
    const json::value* value = find(name);
    if (value != nullptr && value->is_object()) return &value->get_object();
    fails_ = true;
    return nullptr;
  }
  bool fails() const { return fails_; }

 private:
  const json::value* find(std::string_view name) const { return object_.if_contains(name); }
  const json::object& object_;
  bool fails_ = false;
};

Error not_a_receipt() {
  return {std::string(domain::error::kStorageFailed), "a usage record is no receipt", {}};
}

}  // namespace

UsageRow usage_row(const domain::Receipt& receipt) {
  Duration device_time{};
  for (const domain::DeviceLine& line : receipt.devices) device_time += line.time;
  UsageRow row{
      .request = receipt.request,
      .job = receipt.job,
      .function = receipt.function,
      .revision = receipt.revision,
      .key = receipt.key,
      .day = utc_day(receipt.at),
      .at_ms = receipt.at.time_since_epoch().count(),
      .terminal = receipt.terminal,
      .cost_micros = receipt.cost.micros,
      .platform_micros = receipt.platform.micros,
      .prompt_tokens = static_cast<std::int64_t>(receipt.prompt_tokens),
      .cached_tokens = static_cast<std::int64_t>(receipt.cached_tokens),
      .completion_tokens = static_cast<std::int64_t>(receipt.completion_tokens),
      .device_ms = std::chrono::duration_cast<std::chrono::milliseconds>(device_time).count()};
  row.text = json::serialize(receipt_object(receipt, row));
  return row;
}

Result<UsageRow> read_usage_row(std::string_view text) {
  boost::system::error_code fault;
  const json::value value = json::parse(text, fault);
  if (fault || !value.is_object()) return not_a_receipt();
  Members all(value.get_object());
  UsageRow row{.request = all.text("request"),
               .function = all.text("function"),
               .revision = static_cast<int>(all.number("revision")),
               .key = all.text("key"),
               .day = all.text("day"),
               .at_ms = all.number("at_ms"),
               .terminal = all.text("terminal"),
               .text = std::string(text),
               .cost_micros = all.number("cost_micros"),
               .platform_micros = all.number("platform_micros"),
               .device_ms = all.number("device_ms")};
  const std::string job = all.text("job");
  row.job = parse_job_id(job);
  if (!job.empty() && !row.job) return not_a_receipt();
  const json::object* tokens = all.object("tokens");
  if (tokens == nullptr || row.request.empty() || row.terminal.empty()) return not_a_receipt();
  Members counts(*tokens);
  row.prompt_tokens = counts.number("prompt");
  row.cached_tokens = counts.number("cached");
  row.completion_tokens = counts.number("completion");
  if (all.fails() || counts.fails()) return not_a_receipt();
  return row;
}

std::int64_t checksum(const UsageRow& row) {
  RowChecksum sum;
  sum.add(row.request).add(row.job ? row.job->value : 0).add(row.function).add(row.revision);
  sum.add(row.key).add(row.day).add(row.at_ms).add(row.terminal).add(row.text);
  sum.add(row.cost_micros).add(row.platform_micros).add(row.prompt_tokens).add(row.cached_tokens);
  return sum.add(row.completion_tokens).add(row.device_ms).value();
}

}  // namespace glowplug::storage
