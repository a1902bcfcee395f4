#include "metering/usage_record.h"

#include <utility>

#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include "base/fnv.h"

namespace glowplug::metering {
namespace {

namespace json = boost::json;

constexpr std::size_t kChecksumDigits = 16;

std::string sealed(char kind, std::string_view text) {
  const std::string said = fmt::format("{} {}", kind, text);
  return fmt::format("{:016x} {}\n", fnv(said), said);
}

std::optional<Intent> read_intent(std::string_view text) {
  boost::system::error_code fault;
  const json::value value = json::parse(text, fault);
  if (fault || !value.is_object()) return std::nullopt;
  const json::object& object = value.get_object();
  const json::value* request = object.if_contains("request");
  const json::value* function = object.if_contains("function");
  const json::value* revision = object.if_contains("revision");
  const json::value* at = object.if_contains("at_ms");
  if (request == nullptr || !request->is_string() || function == nullptr ||
      !function->is_string() || revision == nullptr || !revision->is_int64() || at == nullptr ||
      !at->is_int64())
    return std::nullopt;
  return Intent{.request = std::string(request->get_string()),
                .function = std::string(function->get_string()),
                .revision = static_cast<int>(revision->get_int64()),
                .at = WallTime(std::chrono::milliseconds(at->get_int64()))};
}

}  // namespace

std::string line_of(const Intent& intent) {
  return sealed('I',
                json::serialize(json::object{{"request", intent.request},
                                             {"function", intent.function},
                                             {"revision", intent.revision},
                                             {"at_ms", intent.at.time_since_epoch().count()}}));
}

std::string line_of(const storage::UsageRow& closed) { return sealed('C', closed.text); }

std::optional<UsageRecord> read_line(std::string_view line) {
  if (line.size() < kChecksumDigits + 4) return std::nullopt;
  const std::string_view said = line.substr(kChecksumDigits + 1);
  if (line.substr(0, kChecksumDigits + 1) != fmt::format("{:016x} ", fnv(said)))
    return std::nullopt;
  const std::string_view text = said.substr(2);
  if (said.starts_with("I ")) {
    std::optional<Intent> intent = read_intent(text);
    if (intent) return UsageRecord(*std::move(intent));
  }
  if (said.starts_with("C ")) {
    Result<storage::UsageRow> row = storage::read_usage_row(text);
    if (row) return UsageRecord(std::move(*row));
  }
  return std::nullopt;
}

storage::UsageRow lost_row(const Intent& intent) {
  return storage::usage_row({.request = intent.request,
                             .job = {},
                             .function = intent.function,
                             .revision = intent.revision,
                             .at = intent.at,
                             .terminal = std::string(domain::call_end::kLost)});
}

LinesRead read_lines(std::string_view text, const std::function<void(UsageRecord)>& take) {
  LinesRead read;
  while (true) {
    const std::size_t end = text.find('\n', read.bytes);
    if (end == std::string_view::npos) return read;
    const std::string_view line = text.substr(read.bytes, end - read.bytes);
    read.bytes = end + 1;
    if (line.empty()) continue;  // it begins anew after a line that was cut off
    if (std::optional<UsageRecord> record = read_line(line))
      take(*std::move(record));
    else
      ++read.damaged;
  }
}

}  // namespace glowplug::metering
