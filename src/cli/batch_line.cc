#include "cli/batch_line.h"

#include <CLI/CLI.hpp>

namespace glowplug::cli {
namespace {

using Command = std::function<int(const Context&)>;

CLI::App* add(CLI::App& app, const char* name, const char* what) {
  CLI::App* command = app.add_subcommand(name, what);
  command->fallthrough();  // --json, --url and --admin-url may follow the command
  command->footer("Also on every command: --json, --url URL, --admin-url URL.");
  return command;
}

void add_files(CLI::App& app, FilesOptions& options, Command& chosen) {
  CLI::App* top = add(app, "files", "List the files that the server keeps, send and get them");
  top->require_subcommand(0, 1);
  top->callback([&options, &chosen] {
    chosen = [&options](const Context& context) { return files(context, options); };
  });
  const auto verb = [&options, top](const char* name, const char* what, const char* of) {
    CLI::App* command = add(*top, name, what);
    command->callback([&options, name] { options.verb = name; });
    command->add_option("file", options.file, of)->required();
    return command;
  };
  verb("upload", "Send a file", "Its path")
      ->add_option("--purpose", options.purpose, "What it is for")
      ->capture_default_str();
  verb("get", "Write a file's content to the output", "Its id");
  verb("rm", "Remove a file", "Its id");
}

}  // namespace

void add_batches(CLI::App& app, BatchLine& line, Command& command) {
  add_files(app, line.files, command);
  CLI::App* one = add(app, "batch", "Run the requests of a file within a day");
  one->add_option("file", line.batch.file, "JSON lines, a request each")->required();
  one->add_option("--endpoint", line.batch.endpoint, "The route of every request")
      ->capture_default_str();
  one->add_flag("--wait", line.batch.wait, "Wait until it is over");
  one->callback([&line, &command] {
    command = [&line](const Context& context) { return batch(context, line.batch); };
  });
  add(app, "batches", "List the batches")->callback([&command] { command = batches; });
}

}  // namespace glowplug::cli
