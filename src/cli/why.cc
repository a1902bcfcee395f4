#include <algorithm>
#include <cstdint>
#include <optional>

#include "cli/commands.h"
#include "cli/json_fields.h"
#include "cli/table.h"
#include "cli/words.h"

namespace glowplug::cli {
namespace {

// What it is now. None for what is no function's name; no such name has an underscore, so an id of
// the server's own asks for no function first.
std::optional<boost::json::value> function_named(const Context& context, const std::string& what) {
  if (what.starts_with("req_")) return std::nullopt;
  const Result<HttpReply> reply = context.server.send({.target = function_target(what)});
  if (!reply.ok() || !reply->succeeded()) return std::nullopt;
  Result<boost::json::value> read = parse_json(reply->body);
  return read ? *std::move(read) : boost::json::value();
}

int show_call(const Context& context, const std::string& request) {
  const Fetched got =
      fetch(context, context.admin, {.target = "/v1/admin/why/" + percent_encode(request)});
  if (got.exit != 0) return got.exit;
  if (context.json) {
    print_json(context, got.body);
    return 0;
  }
  context.console.out << call_anatomy(got.body) << std::flush;
  // A call that runs has none yet, one that no replica had never gets one.
  const std::string id = text_field(got.body, "request");
  const Result<HttpReply> receipt =
      context.admin.send({.target = "/v1/admin/usage/" + percent_encode(id)});
  if (!receipt || !receipt->succeeded()) return 0;
  if (const Result<boost::json::value> read = parse_json(receipt->body))
    context.console.out << receipt_table(*read) << std::flush;
  return 0;
}

int list_decisions(const Context& context, const WhyOptions& options) {
  std::string target = "/v1/admin/decisions";
  if (!options.function.empty()) target += "?function=" + percent_encode(options.function);
  const Fetched got = fetch(context, context.admin, {.target = target});
  if (got.exit != 0) return got.exit;

  boost::json::array chosen;
  for (const boost::json::value& decision : data_of(got.body))
    if (options.function.empty() || text_field(decision, "function") == options.function)
      chosen.push_back(decision);
  const auto limit = static_cast<std::size_t>(options.limit);
  if (chosen.size() > limit)
    chosen.erase(chosen.begin(), chosen.end() - static_cast<std::ptrdiff_t>(limit));
  if (context.json) {
    print_json(context, chosen);
    return 0;
  }
  if (chosen.empty()) {
    context.console.out << "no decisions"
                        << (options.function.empty() ? "" : " about " + options.function) << " yet"
                        << std::endl;
    return 0;
  }
  std::vector<std::vector<std::string>> rows;
  for (const boost::json::value& decision : chosen)
    rows.push_back({time_of_day(static_cast<std::int64_t>(number_field(decision, "at_ms"))),
                    text_field(decision, "function"), text_field(decision, "decision"),
                    text_field(decision, "reason")});
  context.console.out << layout_table({{"AT"}, {"FUNCTION"}, {"DECISION"}, {"REASON"}}, rows)
                      << std::flush;
  return 0;
}

}  // namespace

int why(const Context& context, const WhyOptions& options) {
  if (options.what.empty()) return list_decisions(context, options);
  const auto function = function_named(context, options.what);
  if (!function) return show_call(context, options.what);
  const int exit = list_decisions(context, {.function = options.what, .limit = options.limit});
  const boost::json::value* scaling = field(*function, "scaling");
  if (exit == 0 && !context.json && scaling != nullptr && scaling->is_object())
    context.console.out << text_field(*scaling, "policy")
                        << " wants now: " << text_field(*scaling, "reason") << std::endl;
  return exit;
}

}  // namespace glowplug::cli
