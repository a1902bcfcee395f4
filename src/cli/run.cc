#include "cli/chat_stream.h"
#include "cli/commands.h"
#include "cli/read_input.h"
#include "cli/wait.h"

namespace glowplug::cli {
namespace {

boost::json::object message(std::string_view role, std::string_view content) {
  return {{"role", std::string(role)}, {"content", std::string(content)}};
}

boost::json::array opening(const RunOptions& options) {
  boost::json::array messages;
  if (!options.system.empty()) messages.push_back(message("system", options.system));
  return messages;
}

// Text goes to stdout as it comes; with --json it is gathered and comes with its numbers instead.
ChatAnswer ask(const Context& context, const RunOptions& options,
               const boost::json::array& messages) {
  boost::json::object request{{"model", options.name},
                              {"messages", messages},
                              {"stream", true},
                              {"stream_options", boost::json::object{{"include_usage", true}}}};
  if (options.max_tokens > 0) request["max_tokens"] = options.max_tokens;
  return stream_chat(context, request, [&context](std::string_view text) {
    if (!context.json) context.console.out << text << std::flush;
  });
}

int finish(const Context& context, const RunOptions& options, const ChatAnswer& answer) {
  if (!context.json && !answer.text.empty() && !answer.text.ends_with('\n'))
    context.console.out << std::endl;
  if (answer.refusal) return report_refusal(context, *answer.refusal);
  if (answer.error) return report_error(context, *answer.error);
  if (context.json) {
    boost::json::object out{{"function", options.name}};
    for (const auto& [name, value] : to_json(answer)) out[name] = value;
    print_json(context, out);
  }
  context.console.err << context.console.dim(stats_line(answer)) << std::endl;
  return 0;
}

int converse(const Context& context, const RunOptions& options) {
  const Console& console = context.console;
  LineReader lines({.fd = console.in_fd, .cancel_fd = context.cancel_fd});
  boost::json::array messages = opening(options);
  console.err
      << console.dim(
             "/clear forgets the conversation, /bye or Ctrl-D leaves, Ctrl-C breaks off an answer")
      << std::endl;
  while (true) {
    console.err << ">>> " << std::flush;
    const std::optional<std::string> line = lines.next();
    if (!line || *line == "/bye") {
      if (!line) console.err << std::endl;
      return 0;
    }
    if (line->find_first_not_of(" \t") == std::string::npos) continue;
    if (*line == "/clear") {
      messages = opening(options);
      continue;
    }
    messages.push_back(message("user", *line));
    const ChatAnswer answer = ask(context, options, messages);
    const int exit = finish(context, options, answer);
    if (answer.error && answer.error->code == kInterrupted) take_interrupt(context.cancel_fd);
    if (exit == to_int(ExitCode::Unreachable) || exit == to_int(ExitCode::NotFound)) return exit;
    // A question without an answer leaves the conversation, so that the next one starts from a
    // whole turn.
    if (answer.text.empty())
      messages.pop_back();
    else
      messages.push_back(message("assistant", answer.text));
  }
}

}  // namespace

int run(const Context& context, const RunOptions& options) {
  std::string prompt = options.prompt;
  if (prompt.empty()) {
    if (context.console.in_is_tty) return converse(context, options);
    Result<std::string> text =
        read_all({.fd = context.console.in_fd, .cancel_fd = context.cancel_fd});
    if (!text) return report_error(context, text.error());
    prompt = *std::move(text);
    while (prompt.ends_with('\n')) prompt.pop_back();
    if (prompt.empty())
      return report_error(context, {std::string(kUsage),
                                    "no prompt: give one as an argument or on stdin", "prompt"});
  }
  boost::json::array messages = opening(options);
  messages.push_back(message("user", prompt));
  return finish(context, options, ask(context, options, messages));
}

}  // namespace glowplug::cli
