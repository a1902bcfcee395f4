#include "cli/commands.h"
#include "cli/json_fields.h"

namespace glowplug::cli {
namespace {

// A line is text, or an object that holds the text beside its time.
std::string line_of(const boost::json::value& entry) {
  if (entry.is_string()) return std::string(entry.get_string().c_str(), entry.get_string().size());
  for (const std::string_view name : {"line", "text", "message"}) {
    if (field(entry, name) == nullptr) continue;
    const std::string at = text_field(entry, "at");
    return at.empty() ? text_field(entry, name) : at + "  " + text_field(entry, name);
  }
  return to_text(entry);
}

}  // namespace

int logs(const Context& context, const LogsOptions& options) {
  const Fetched got =
      fetch(context, context.server, {.target = function_target(options.name, "/logs")});
  if (got.exit != 0) return got.exit;
  boost::json::array lines = data_of(got.body);
  const auto tail = static_cast<std::size_t>(options.tail);
  if (tail > 0 && lines.size() > tail)
    lines.erase(lines.begin(), lines.end() - static_cast<std::ptrdiff_t>(tail));
  if (context.json) {
    print_json(context, lines);
    return 0;
  }
  if (lines.empty())
    context.console.err << "no log lines of " << options.name << " yet" << std::endl;
  for (const boost::json::value& line : lines) context.console.out << line_of(line) << "\n";
  context.console.out << std::flush;
  return 0;
}

}  // namespace glowplug::cli
