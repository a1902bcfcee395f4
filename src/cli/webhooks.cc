#include <chrono>
#include <ctime>
#include <string>
#include <vector>

#include <boost/json/array.hpp>
#include <fmt/chrono.h>
#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/json_fields.h"
#include "cli/table.h"

namespace glowplug::cli {
namespace {

namespace json = boost::json;

constexpr const char* kTarget = "/v1/webhook-endpoints";

std::string at_id(const std::string& id, std::string_view suffix) {
  return fmt::format("{}/{}{}", kTarget, percent_encode(id), suffix);
}

std::string time_of(const json::value& object) {
  const auto created = static_cast<std::time_t>(number_field(object, "created_at"));
  return fmt::format("{:%Y-%m-%d %H:%M:%S}", fmt::gmtime(created));
}

std::string texts(const json::value& object, std::string_view name) {
  std::string joined;
  const json::value* list = field(object, name);
  if (list != nullptr && list->is_array())
    for (const json::value& one : list->get_array())
      if (one.is_string())
        joined += (joined.empty() ? "" : ",") + std::string(std::string_view(one.get_string()));
  return joined.empty() ? "-" : joined;
}

bool flag(const json::value& object, std::string_view name) {
  const json::value* value = field(object, name);
  return value != nullptr && value->is_bool() && value->get_bool();
}

std::string or_dash(const std::string& text) { return text.empty() ? "-" : text; }

std::string endpoints_table(const json::array& endpoints) {
  std::vector<std::vector<std::string>> rows;
  std::string reasons;
  for (const json::value& one : endpoints) {
    const std::string id = text_field(one, "id");
    const std::string url = text_field(one, "url");
    const bool enabled = flag(one, "enabled");
    rows.push_back({id, url.empty() ? "(as each job names it)" : url,
                    enabled ? "enabled" : "disabled", time_of(one), texts(one, "event_types")});
    if (!enabled) reasons += fmt::format("{}: {}\n", id, text_field(one, "disabled_reason"));
  }
  const std::string table =
      layout_table({{"ENDPOINT"}, {"URL"}, {"STATE"}, {"CREATED (UTC)"}, {"EVENTS"}}, rows);
  return reasons.empty() ? table : table + "\n" + reasons;
}

std::string deliveries_table(const json::array& deliveries) {
  std::vector<std::vector<std::string>> rows;
  for (const json::value& one : deliveries) {
    const bool pending = text_field(one, "status") == "pending";
    rows.push_back(
        {text_field(one, "id"), text_field(one, "type"), text_field(one, "event_id"),
         text_field(one, "status"), text_field(one, "attempts"),
         pending ? fmt::format("{:.0f} s", number_field(one, "next_attempt_seconds")) : "-",
         time_of(one), or_dash(text_field(one, "last_error"))});
  }
  return layout_table({{"DELIVERY"},
                       {"TYPE"},
                       {"EVENT"},
                       {"STATUS"},
                       {"TRIES", Align::Right},
                       {"NEXT IN", Align::Right},
                       {"CREATED (UTC)"},
                       {"LAST FAILURE"}},
                      rows);
}

// Sends and says `done`; of an answer that holds a new secret, the secret too.
int change(const Context& context, const HttpRequest& request, const std::string& done) {
  const Fetched got = fetch(context, context.server, request);
  if (got.exit != 0) return got.exit;
  if (context.json) {
    print_json(context, got.body.is_null() ? json::value(json::object{{"done", true}}) : got.body);
    return 0;
  }
  const std::string secret = text_field(got.body, "signing_secret");
  if (secret.empty()) {
    context.console.out << done << std::endl;
    return 0;
  }
  context.console.out << text_field(got.body, "id") << "  " << secret << std::endl;
  context.console.err << done << "; the secret is shown this once" << std::endl;
  return 0;
}

json::array split_list(const std::string& text) {
  json::array words;
  std::string_view left = text;
  while (!left.empty()) {
    const std::string_view word = left.substr(0, left.find(','));
    if (!word.empty()) words.emplace_back(word);
    left.remove_prefix(std::min(left.size(), word.size() + 1));
  }
  return words;
}

}  // namespace

int webhooks(const Context& context, const WebhooksOptions& options) {
  const std::string& what = options.what;
  const auto post = [&](const std::string& target, const json::object& body,
                        const std::string& done) {
    return change(context, {.method = "POST", .target = target, .body = to_text(body)}, done);
  };
  if (options.verb.empty()) return print_list(context, kTarget, endpoints_table);
  if (options.verb == "deliveries") {
    std::string target = at_id(what, fmt::format("/deliveries?limit={}", options.limit));
    if (!options.status.empty()) target += "&status=" + options.status;
    return print_list(context, target, deliveries_table);
  }
  if (options.verb == "add") {
    json::object body{{"url", what}};
    if (!options.events.empty()) body["event_types"] = split_list(options.events);
    return post(kTarget, body, "added");
  }
  if (options.verb == "rotate")
    return post(at_id(what, "/rotate-secret"), {{"grace_period", options.grace}},
                fmt::format("the old secret signs too for {}", options.grace));
  if (options.verb == "replay")
    return post(fmt::format("{}/deliveries/{}/replay", kTarget, percent_encode(what)), {},
                what + " is sent again");
  if (options.verb == "enable") return post(at_id(what, "/enable"), {}, what + " is enabled");
  if (options.verb == "test") return post(at_id(what, "/test"), {}, "a test is sent to " + what);
  return change(context, {.method = "DELETE", .target = at_id(what, "")}, "removed " + what);
}

}  // namespace glowplug::cli
