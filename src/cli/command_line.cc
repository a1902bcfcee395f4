#include "cli/command_line.h"

#include <charconv>
#include <iostream>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "base/units.h"
#include "cli/batch_line.h"
#include "cli/commands.h"
#include "cli/cost_line.h"
#include "cli/folders.h"
#include "cli/jobs_line.h"
#include "cli/simulate_line.h"
#include "cli/usage_line.h"
#include "cli/wait.h"
#include "cli/webhooks_line.h"
#include "domain/limits.h"

namespace glowplug::cli {
namespace {

// What the command line says; `command` is what to do with it once the server's address is known.
struct Parsed {
  std::string url = "http://127.0.0.1:4569";
  std::string admin_url = "http://127.0.0.1:4570";
  bool json = false, serves = false;
  ServeOptions serve;
  std::optional<std::string> memory, template_memory, prompt_cache, cache_budget, cache_scrub;
  std::optional<std::string> budget_per_hour;
  DeployOptions deploy;
  RunOptions run;
  std::vector<std::string> prompt_words;
  InvokeOptions invoke;
  JobsLine jobs;
  WarmOptions warm;
  PsOptions ps;
  PreloadOptions preload;
  TuneOptions tune;
  CheckpointsOptions checkpoints;
  CostOptions cost;
  UsageOptions usage;
  LogsOptions logs;
  WhyOptions why;
  CacheOptions cache;
  WebhooksOptions webhooks;
  BatchLine batches;
  VersionOptions version;
  std::string name;  // of rm and stop
  SimulateOptions simulate;
  Simulation simulation = Simulation::None;
  std::function<int(const Context&)> command;
};

std::string check_bytes(const std::string& text) {
  if (text == "auto" || parse_bytes(text)) return "";
  return fmt::format("'{}' is no amount of memory; write 8GiB, 512MB or auto", text);
}

// Off, which is nothing, or more than that.
std::optional<domain::Money> read_budget(const std::string& text) {
  if (text == "off") return domain::Money{};
  const auto micros = parse_micros(text);
  const bool is_one = micros && *micros > 0 && *micros <= domain::kBudgetMax * 1'000'000LL;
  return is_one ? std::optional(domain::Money{*micros}) : std::nullopt;
}

std::string check_budget(const std::string& text) {
  if (read_budget(text)) return "";
  return fmt::format(
      "'{}' is no budget; write off, or a number above 0 and up to {} with six decimals at most, "
      "as 2.5",
      text, domain::kBudgetMax);
}

std::string check_bytes_or_off(const std::string& text) {
  return text == "off" ? "" : check_bytes(text);
}

std::string check_duration(const std::string& text) {
  return parse_duration(text) ? ""
                              : fmt::format("'{}' is no duration; write 30s, 5m or 1h30m", text);
}

std::string check_count(const std::string& text) {
  int count = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), count);
  const bool whole = ec == std::errc() && end == text.data() + text.size();
  return whole && count > 0 ? ""
                            : fmt::format("'{}' is no count; write a whole number above 0", text);
}

std::string check_duration_or_off(const std::string& text) {
  if (text == "off") return "";
  const auto read = parse_duration(text);
  return read && *read > Duration(0) && *read != kForever
             ? ""
             : fmt::format("'{}' is no duration; write 24h, 30m or off", text);
}

std::string check_name(const std::string& text) { return text.empty() ? "NAME is empty" : ""; }

CLI::App* add(CLI::App& app, const char* name, const char* what) {
  CLI::App* command = app.add_subcommand(name, what);
  command->fallthrough();  // --json, --url and --admin-url may follow the command
  command->footer("Also on every command: --json, --url URL, --admin-url URL.");
  return command;
}

constexpr const char* kServeFooter =
    "A setting comes from the command line, else from the environment (GLOWPLUG_DATA_DIR,\n"
    "GLOWPLUG_CACHE_DIR, HF_ENDPOINT, HF_TOKEN, PIP_INDEX_URL), else from the file of --config.\n"
    "Its keys: listen, admin_listen, data_dir, cache_dir, worker, memory, cores,\n"
    "template_memory, spares, standby, autoscaler_speed, prompt_cache, cache_budget,\n"
    "cache_scrub, decision_log, log_level, hub_url, hub_token_file, pip_index_url,\n"
    "allow_process_engines, allow_private_sources, prices, budget_per_hour, devices,\n"
    "webhooks, files_budget, batch_lines, ballast, nvml.\n"
    "Also on every command: --json, --url URL, --admin-url URL.";

void add_serve(CLI::App& app, Parsed& parsed) {
  CLI::App* command = add(app, "serve", "Run the server");
  ServeOptions& serve = parsed.serve;
  command->add_option("--config", serve.config_file,
                      "Settings from a YAML file; options given here come before it");
  command->add_option("--listen", serve.listen, "Address of the API")
      ->default_str(std::string(kListenDefault));
  command->add_option("--admin-listen", serve.admin_listen, "Address of the admin API")
      ->default_str(std::string(kAdminListenDefault));
  command->add_option("--data-dir", serve.data_dir, "Functions and state (GLOWPLUG_DATA_DIR)");
  command->add_option("--cache-dir", serve.cache_dir, "Downloaded models (GLOWPLUG_CACHE_DIR)");
  command->add_option("--memory", parsed.memory, "What replicas may use together, as 8GiB")
      ->check(CLI::Validator(check_bytes, "BYTES"))
      ->default_str("auto");
  command
      ->add_option("--budget-per-hour", parsed.budget_per_hour,
                   "What all replicas may cost together by the price table, as 5; off = no bound")
      ->check(CLI::Validator(check_budget, "AMOUNT"))
      ->default_str("off");
  command->add_option("--cores", serve.cores, "Cores that replicas may use together")
      ->check(CLI::Range(1, domain::kCoresMax))
      ->default_str("those of this machine");
  command
      ->add_option("--template-memory", parsed.template_memory,
                   "Of it, what templates without a replica may hold, as 2GiB; off = none")
      ->check(CLI::Validator(check_bytes_or_off, "BYTES"))
      ->default_str("auto");
  command
      ->add_option("--spares", serve.spares,
                   "Replicas kept ready for each model whose functions were called lately")
      ->check(CLI::Range(0, domain::kSparesMax))
      ->default_str("1");
  command
      ->add_option("--standby", serve.standby,
                   "Workers started ahead without a model, for starts without a template")
      ->check(CLI::Range(0, domain::kStandbyMax))
      ->default_str("0, on a GPU 1");
  command
      ->add_option("--prompt-cache", parsed.prompt_cache,
                   "Disk for the prompts of conversations, which outlive their replica; off = none")
      ->check(CLI::Validator(check_bytes_or_off, "BYTES"))
      ->default_str("1GiB");
  command
      ->add_option("--cache-budget", parsed.cache_budget,
                   "What downloaded models may take of the disk, as 100GiB; auto = all but 2 GiB")
      ->check(CLI::Validator(check_bytes, "BYTES"))
      ->default_str("auto");
  command
      ->add_option("--cache-scrub", parsed.cache_scrub,
                   "How often each downloaded model is read again and checked; off = when asked")
      ->check(CLI::Validator(check_duration_or_off, "DURATION"))
      ->default_str("24h");
  command->add_flag("--allow-process-engines", serve.allow_process_engines,
                    "Let manifests start commands of their own");
  command->add_flag("--allow-private-sources", serve.allow_private_sources,
                    "Let models come from private addresses, and through the environment's proxy");
  command->add_option("--worker", serve.worker_path,
                      "The glowplug-worker program; else the one beside this");
  command->add_option("--log-level", serve.log_level, "trace, debug, info, warn or error")
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error"}))
      ->default_str(std::string(kLogLevelDefault));
  command->footer(kServeFooter);
  command->callback([&parsed] { parsed.serves = true; });
}

void add_deploy_and_calls(CLI::App& app, Parsed& parsed) {
  CLI::App* deploy_command = add(app, "deploy", "Deploy a model or a manifest as a function");
  deploy_command
      ->add_option("source", parsed.deploy.source,
                   "Catalogue name, FILE.gguf, hf:org/repo:file, https://… or manifest.yaml")
      ->required();
  deploy_command->add_option("--name", parsed.deploy.name,
                             "The function's name; else from the source");
  deploy_command->add_flag("--wait", parsed.deploy.wait,
                           "Also start a replica and wait until it is ready");
  deploy_command->callback([&parsed] {
    parsed.command = [&parsed](const Context& context) { return deploy(context, parsed.deploy); };
  });

  CLI::App* run_command = add(app, "run", "Ask a function, or talk with it");
  run_command->add_option("name", parsed.run.name, "The function")->required()->check(check_name);
  run_command->add_option("prompt", parsed.prompt_words,
                          "The prompt; else stdin, or a conversation on a terminal");
  run_command->add_option("--max-tokens", parsed.run.max_tokens, "Longest answer")
      ->check(CLI::Validator(check_count, "COUNT"));
  run_command->add_option("--system", parsed.run.system, "The system message");
  run_command->callback([&parsed] {
    for (const std::string& word : parsed.prompt_words)
      parsed.run.prompt += (parsed.run.prompt.empty() ? "" : " ") + word;
    parsed.command = [&parsed](const Context& context) { return run(context, parsed.run); };
  });

  CLI::App* invoke_command = add(app, "invoke", "Send an event to a function");
  invoke_command->add_option("name", parsed.invoke.name, "The function")
      ->required()
      ->check(check_name);
  invoke_command->add_option("--event", parsed.invoke.event, "A JSON file, or - for stdin");
  invoke_command->add_flag("--async", parsed.invoke.async,
                           "Return a job's id; glowplug jobs ID shows the answer");
  invoke_command->callback([&parsed] {
    parsed.command = [&parsed](const Context& context) { return invoke(context, parsed.invoke); };
  });
}

void add_lists(CLI::App& app, Parsed& parsed) {
  CLI::App* ps_command = add(app, "ps", "List the functions and what they do");
  ps_command->add_flag("--warm", parsed.ps.warm, "Only what is ready ahead of calls");
  ps_command->callback([&parsed] {
    parsed.command = [&parsed](const Context& context) { return ps(context, parsed.ps); };
  });
  add(app, "top", "Watch the functions")->callback([&parsed] { parsed.command = top; });
  add(app, "devices", "List what replicas run on, and what is reserved there")->callback([&parsed] {
    parsed.command = devices;
  });
  add(app, "models", "List the deployed functions as models")->callback([&parsed] {
    parsed.command = models;
  });

  CLI::App* logs_command = add(app, "logs", "Show the last log lines of a function");
  logs_command->add_option("name", parsed.logs.name, "The function")->required()->check(check_name);
  logs_command->add_option("--tail", parsed.logs.tail, "Only the last N lines")
      ->check(CLI::Validator(check_count, "COUNT"));
  logs_command->callback([&parsed] {
    parsed.command = [&parsed](const Context& context) { return logs(context, parsed.logs); };
  });

  CLI::App* why_command =
      add(app, "why", "Show what became of a call, or the last decisions and why");
  CLI::Option* what = why_command->add_option(
      "request", parsed.why.what,
      "A call's x-request-id, or the X-Client-Request-Id that came with it; or a function, for the "
      "decisions about it");
  why_command->add_option("--function", parsed.why.function, "Only decisions about this function")
      ->excludes(what);
  why_command->add_option("--limit", parsed.why.limit, "How many decisions")
      ->check(CLI::Validator(check_count, "COUNT"))
      ->capture_default_str();
  why_command->callback([&parsed] {
    parsed.command = [&parsed](const Context& context) { return why(context, parsed.why); };
  });
}

void add_cache(CLI::App& app, Parsed& parsed) {
  CLI::App* cache_command =
      add(app, "cache", "Show what is held of each model on disk, in memory and in templates");
  cache_command->require_subcommand(0, 1);
  const auto run = [&parsed] {
    parsed.command = [&parsed](const Context& context) { return cache(context, parsed.cache); };
  };
  cache_command->callback(run);
  const auto verb = [&](const char* name, const char* what) {
    CLI::App* command = add(*cache_command, name, what);
    command->callback([&parsed, name] { parsed.cache.verb = name; });
    return command->add_option("model", parsed.cache.model,
                               "A source, a function, or the beginning of a digest");
  };
  verb("pin", "Keep a model file, whatever the budget")->required()->check(check_name);
  verb("unpin", "Let it go again when room is needed")->required()->check(check_name);
  verb("evict", "Remove a model file that no function uses")->required()->check(check_name);
  verb("verify", "Read model files again now and check their digests");
}

void add_changes(CLI::App& app, Parsed& parsed) {
  CLI::App* rm_command = add(app, "rm", "Remove a function");
  rm_command->add_option("name", parsed.name, "The function")->required()->check(check_name);
  rm_command->callback([&parsed] {
    parsed.command = [&parsed](const Context& context) { return rm(context, parsed.name); };
  });

  CLI::App* stop_command =
      add(app, "stop", "Stop a function's replicas; the next call starts one again");
  stop_command->add_option("name", parsed.name, "The function")->required()->check(check_name);
  stop_command->callback([&parsed] {
    parsed.command = [&parsed](const Context& context) { return stop(context, parsed.name); };
  });

  CLI::App* warm_command = add(app, "warm", "Start replicas ahead of calls");
  warm_command->add_option("name", parsed.warm.name, "The function")->required()->check(check_name);
  warm_command->add_option("--count", parsed.warm.count, "How many replicas")
      ->check(CLI::Validator(check_count, "COUNT"))
      ->capture_default_str();
  warm_command->add_option("--for", parsed.warm.duration, "How long; -1 = until stopped")
      ->check(CLI::Validator(check_duration, "DURATION"))
      ->capture_default_str();
  warm_command->callback([&parsed] {
    parsed.command = [&parsed](const Context& context) { return warm(context, parsed.warm); };
  });
}

void add_preload(CLI::App& app, Parsed& parsed) {
  CLI::App* command = add(app, "preload", "Bring a function to a tier ahead of calls");
  PreloadOptions& options = parsed.preload;
  command->add_option("name", options.name, "The function")->required()->check(check_name);
  command->add_option("--tier", options.tier, "How far")
      ->check(CLI::IsMember({"disk", "memory", "template", "replica"}))
      ->capture_default_str();
  command
      ->add_option("--for", options.duration,
                   "How long a template or replica is held; -1 = until stopped")
      ->check(CLI::Validator(check_duration, "DURATION"))
      ->capture_default_str();
  command->add_flag("--wait", options.wait, "Return once it is there");
  command->callback([&parsed] {
    parsed.command = [&parsed](const Context& context) { return preload(context, parsed.preload); };
  });
}

void add_tune(CLI::App& app, Parsed& parsed) {
  CLI::App* command =
      add(app, "tune", "Measure which engine settings are fastest for a function here");
  command->add_option("name", parsed.tune.name, "The function")->required()->check(check_name);
  command->add_flag("--apply", parsed.tune.apply,
                    "Also write the choice into the manifest, as a new revision");
  command->add_flag("--force", parsed.tune.force, "Also while calls are in flight");
  command->callback([&parsed] {
    parsed.command = [&parsed](const Context& context) { return tune(context, parsed.tune); };
  });
}

void add_checkpoints(CLI::App& app, Parsed& parsed) {
  CLI::App* command =
      add(app, "checkpoints", "Save states of a function, switch, split and roll back");
  CheckpointsOptions& options = parsed.checkpoints;
  command->add_option("name", options.name, "The function")->required()->check(check_name);
  command
      ->add_option("action", options.action,
                   "list, save [STEP], activate STEP, rollback, traffic STEP=WEIGHT…, rm STEP")
      ->capture_default_str();
  command->add_option("words", options.words, "What the action takes");
  command->callback([&parsed] {
    parsed.command = [&parsed](const Context& context) {
      return checkpoints(context, parsed.checkpoints);
    };
  });
}

void add_about(CLI::App& app, Parsed& parsed) {
  CLI::App* doctor_command = add(app, "doctor", "Check this machine and the server");
  // The same options as serve has, so that what will be served can be checked first.
  doctor_command->add_option("--data-dir", parsed.serve.data_dir, "The data folder to check");
  doctor_command->add_option("--cache-dir", parsed.serve.cache_dir, "The cache folder to check");
  doctor_command->add_option("--worker", parsed.serve.worker_path, "The glowplug-worker program");
  doctor_command->add_option("--listen", parsed.serve.listen, "Address of the API")
      ->default_str(std::string(kListenDefault));
  doctor_command
      ->add_option("--admin-listen", parsed.serve.admin_listen, "Address of the admin API")
      ->default_str(std::string(kAdminListenDefault));
  doctor_command->callback([&parsed] {
    parsed.command = [&parsed](const Context& context) {
      const ServeOptions& serve = parsed.serve;
      return doctor(
          context, {.data_dir = serve.data_dir.value_or(default_data_dir()),
                    .cache_dir = serve.cache_dir.value_or(default_cache_dir()),
                    .worker_path = serve.worker_path.value_or(""),
                    .listen = serve.listen.value_or(std::string(kListenDefault)),
                    .admin_listen = serve.admin_listen.value_or(std::string(kAdminListenDefault))});
    };
  });
  add(app, "version", "Say which version this is, and the server")->callback([&parsed] {
    parsed.command = [&parsed](const Context& context) { return version(context, parsed.version); };
  });
}

int usage_failure(const Parsed& parsed, int argc, char** argv, const std::string& message) {
  bool json = parsed.json;
  for (int i = 1; i < argc; ++i) json = json || std::string_view(argv[i]) == "--json";
  std::cerr << "glowplug: " << message << std::endl;
  if (json) {
    const boost::json::object error{{"message", message},
                                    {"type", "client_error"},
                                    {"param", nullptr},
                                    {"code", std::string(kUsage)}};
    std::cout << to_text(boost::json::object{{"error", error}}) << std::endl;
  }
  return to_int(ExitCode::Usage);
}

int run_command_with(const Parsed& parsed) {
  const Interrupts interrupts;
  const Console console = standard_console();
  const SystemClock clock;
  const std::string key = environment("GLOWPLUG_API_KEY");
  const Result<HttpClient> server =
      HttpClient::create({.url = parsed.url, .api_key = key, .cancel_fd = interrupts.fd()});
  const Result<HttpClient> admin =
      HttpClient::create({.url = parsed.admin_url, .api_key = key, .cancel_fd = interrupts.fd()});
  if (!server || !admin) {
    char* none = nullptr;
    return usage_failure(parsed, 0, &none, (!server ? server : admin).error().message);
  }
  const int code = parsed.command({.server = *server,
                                   .admin = *admin,
                                   .console = console,
                                   .clock = clock,
                                   .cancel_fd = interrupts.fd(),
                                   .json = parsed.json});
  if (code != 0 || (console.out << std::flush)) return code;
  console.err << "the output takes no more" << std::endl;
  return to_int(ExitCode::Failed);
}

}  // namespace

int run_client(int argc, char** argv, const ServeHooks& hooks) {
  Parsed parsed;
  parsed.version = {.version = hooks.version, .engine_commit = hooks.engine_commit};
  CLI::App app("Glowplug: a serverless platform for language models", "glowplug");
  app.require_subcommand(1);
  app.set_version_flag("--version", hooks.version);
  app.add_flag("--json", parsed.json, "Answer JSON on stdout");
  app.add_option("--url", parsed.url, "The server")->envname("GLOWPLUG_URL")->capture_default_str();
  app.add_option("--admin-url", parsed.admin_url, "The server's admin listener")
      ->envname("GLOWPLUG_ADMIN_URL")
      ->capture_default_str();
  app.footer(
      "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 server unreachable, 5 refused.");
  add_serve(app, parsed);
  add_deploy_and_calls(app, parsed);
  add_jobs(app, parsed.jobs, parsed.command);
  add_lists(app, parsed);
  add_batches(app, parsed.batches, parsed.command);
  add_cache(app, parsed);
  add_webhooks(app, parsed.webhooks, parsed.command);
  add_changes(app, parsed);
  add_preload(app, parsed);
  add_tune(app, parsed);
  add_checkpoints(app, parsed);
  add_cost(app, parsed.cost, parsed.command);
  add_usage(app, parsed.usage, parsed.command);
  add_simulations(app, parsed.simulate, parsed.simulation);
  add_about(app, parsed);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help and --version
    return usage_failure(parsed, argc, argv, fmt::format("{}; see: glowplug --help", error.what()));
  }
  if (parsed.simulation == Simulation::Simulate)
    return hooks.simulate(parsed.simulate, standard_console());
  if (parsed.simulation == Simulation::Plan) return hooks.plan(parsed.simulate, standard_console());
  if (!parsed.serves) return run_command_with(parsed);
  if (parsed.memory)
    parsed.serve.memory_bytes =
        *parsed.memory == "auto" ? 0 : parse_bytes(*parsed.memory).value_or(0);
  if (parsed.template_memory)
    parsed.serve.template_bytes = *parsed.template_memory == "auto"
                                      ? kTemplateMemoryAuto
                                      : parse_bytes(*parsed.template_memory).value_or(0);
  if (parsed.prompt_cache)
    parsed.serve.prompt_cache_bytes = parse_bytes(*parsed.prompt_cache).value_or(0);
  if (parsed.cache_budget)
    parsed.serve.cache_budget_bytes =
        *parsed.cache_budget == "auto" ? 0 : parse_bytes(*parsed.cache_budget).value_or(0);
  if (parsed.budget_per_hour) parsed.serve.budget_per_hour = read_budget(*parsed.budget_per_hour);
  if (parsed.cache_scrub)
    parsed.serve.cache_scrub = *parsed.cache_scrub == "off"
                                   ? Duration(0)
                                   : parse_duration(*parsed.cache_scrub).value_or(Duration(0));
  return hooks.serve(parsed.serve);
}

}  // namespace glowplug::cli
