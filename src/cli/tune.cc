#include <cmath>

#include <boost/json/array.hpp>
#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/json_fields.h"
#include "cli/progress_line.h"
#include "cli/sse.h"
#include "cli/table.h"
#include "domain/limits.h"

namespace glowplug::cli {
namespace {

// The server says something each kEventPing.
constexpr Duration kSilenceMax = 4 * domain::kEventPing;

// "auto" or the number or word that stands there.
std::string shown(const boost::json::value& object, std::string_view key) {
  const boost::json::value* value = field(object, key);
  if (value == nullptr) return "";
  if (value->is_string()) return std::string(value->get_string().c_str());
  return fmt::format("{:.0f}", number_field(object, key));
}

boost::json::value part(const boost::json::value& object, std::string_view key) {
  const boost::json::value* value = field(object, key);
  return value != nullptr ? *value : boost::json::value();
}

std::string rate(const boost::json::value& figures, std::string_view key) {
  const boost::json::value spread = part(figures, key);
  if (number_field(spread, "median") <= 0) return "-";
  return fmt::format("{:.1f}", number_field(spread, "median"));
}

bool is_choice(const boost::json::value& trial, const boost::json::value& result) {
  if (field(trial, "file_type") != nullptr) return false;
  const boost::json::value settings = part(trial, "settings"), choice = part(result, "choice");
  const std::string all = shown(result, "cores");
  const std::string threads = shown(choice, "threads");
  if (shown(settings, "threads") != (threads == "auto" ? all : threads)) return false;
  for (const char* key : {"batch", "repack", "kv"})
    if (shown(settings, key) != shown(choice, key)) return false;
  return true;
}

std::string tune_table(const boost::json::value& result) {
  const std::vector<Column> columns{{"", Align::Left},           {"THREADS", Align::Right},
                                    {"BATCH", Align::Right},     {"REPACK", Align::Left},
                                    {"KV", Align::Left},         {"FILE", Align::Left},
                                    {"PREFILL/S", Align::Right}, {"DECODE/S", Align::Right},
                                    {"START MS", Align::Right},  {"OWN MB", Align::Right}};
  std::vector<std::vector<std::string>> rows;
  const boost::json::value trials = part(result, "trials");
  if (!trials.is_array()) return {};
  for (const boost::json::value& trial : trials.get_array()) {
    const boost::json::value settings = part(trial, "settings"), figures = part(trial, "figures");
    const std::string error = text_field(trial, "error");
    const std::string file = text_field(trial, "file_type");
    rows.push_back({is_choice(trial, result) ? "*" : "", shown(settings, "threads"),
                    shown(settings, "batch"), shown(settings, "repack"), shown(settings, "kv"),
                    file.empty() ? "own" : file, error.empty() ? rate(figures, "prefill") : error,
                    rate(figures, "decode"),
                    fmt::format("{:.0f}", number_field(figures, "load_ms")),
                    fmt::format("{:.0f}", number_field(figures, "private_bytes") / 1e6)});
  }
  return layout_table(columns, rows);
}

std::string summary(const boost::json::value& result, const TuneOptions& options) {
  const boost::json::value choice = part(result, "choice");
  std::string text = fmt::format("{}: threads {}, batch {}, repack {}, kv {}", options.name,
                                 shown(choice, "threads"), shown(choice, "batch"),
                                 shown(choice, "repack"), shown(choice, "kv"));
  if (field(result, "applied_revision") != nullptr)
    text += fmt::format("; written into revision {}\n", shown(result, "applied_revision"));
  else
    text += fmt::format("; what is auto in revision {} stands for this from its next start on\n",
                        shown(result, "revision"));
  if (const boost::json::value file = part(result, "faster_file"); file.is_object())
    text += fmt::format("a {} file would be {:.1f} times as fast: glowplug deploy {}\n",
                        text_field(file, "file_type"), number_field(file, "times"),
                        text_field(file, "source"));
  if (const double calls = number_field(result, "calls_meanwhile"); calls > 0)
    text +=
        fmt::format("{:.0f} calls ran meanwhile, so the figures are of a busy machine\n", calls);
  return text;
}

// What the stream of events came to.
struct Outcome {
  boost::json::value result;
  std::optional<Error> failed;
  bool settled() const { return !result.is_null() || failed; }
};

void take(const SseEvent& event, const std::string& label, ProgressPrinter& printer, Time now,
          Outcome& outcome) {
  if (outcome.settled()) return;
  Result<boost::json::value> data = parse_json(event.data);
  if (!data) {
    outcome.failed = data.error();
  } else if (event.name == "trial") {
    const double of = std::max(1.0, number_field(*data, "of"));
    printer.show(label, number_field(*data, "done") / of, now);
  } else if (event.name == "result") {
    outcome.result = *std::move(data);
  } else if (event.name == "error") {
    const boost::json::value error = part(*data, "error");
    outcome.failed = Error{text_field(error, "code"), text_field(error, "message"), ""};
  }
}

}  // namespace

int tune(const Context& context, const TuneOptions& options) {
  const boost::json::object body{{"apply", options.apply}, {"force", options.force}};
  const std::string label = "measuring " + options.name;
  ProgressPrinter printer(context.console);
  Outcome outcome;
  SseReader events(
      [&](const SseEvent& event) { take(event, label, printer, context.clock.now(), outcome); });
  const Result<HttpReply> reply =
      context.server.send({.method = "POST",
                           .target = function_target(options.name, "/tune"),
                           .body = to_text(body),
                           .idle_timeout = kSilenceMax},
                          [&events, &outcome](std::string_view piece) {
                            events.feed(piece);
                            return outcome.settled() ? Want::Enough : Want::More;
                          });
  printer.finish();
  if (outcome.failed) return report_error(context, *outcome.failed);
  if (!reply) return report_error(context, reply.error());
  if (!reply->succeeded()) return report_refusal(context, *reply);
  if (!outcome.settled())
    return report_error(context, {std::string(kBadReply), "the server ended the tune", ""});
  if (context.json)
    print_json(context, outcome.result);
  else
    context.console.out << tune_table(outcome.result) << summary(outcome.result, options)
                        << std::flush;
  return 0;
}

}  // namespace glowplug::cli
