#include "app/server_config.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/folders.h"

namespace glowplug::app {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

class ServerConfigTest : public testing::Test {
 protected:
  ServerConfigTest() {
    char name[] = "/tmp/gp-config-XXXXXX";
    dir_ = ::mkdtemp(name);
  }
  ~ServerConfigTest() override { fs::remove_all(dir_); }

  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(dir_ + "/" + name) << text;
    return dir_ + "/" + name;
  }
  Result<ServerConfig> config(cli::ServeOptions options = {}) const {
    return server_config(options, [this](const char* name) {
      const auto found = environment_.find(name);
      return found == environment_.end() ? "" : found->second;
    });
  }
  Result<ServerConfig> config_of(const std::string& text) const {
    return config({.config_file = write("glowplug.yaml", text)});
  }
  std::string fault_of(const std::string& text) const {
    const Result<ServerConfig> read = config_of(text);
    return read ? "" : read.error().message;
  }

  std::string dir_;
  std::map<std::string, std::string> environment_;
};

TEST_F(ServerConfigTest, NothingGiven_IsTheDefaults) {
  const auto made = config();
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(made->listen, "127.0.0.1:4569");
  EXPECT_EQ(made->admin_listen, "127.0.0.1:4570");
  EXPECT_EQ(made->data_dir, cli::default_data_dir());
  EXPECT_EQ(made->cache_dir, cli::default_cache_dir());
  EXPECT_EQ(made->memory_bytes, 0u);
  EXPECT_EQ(made->log_level, "info");
  EXPECT_EQ(made->cache_budget_bytes, 0u);
  EXPECT_EQ(made->decision_log_bytes, 0u);
  EXPECT_EQ(made->cache_scrub, std::chrono::hours(24));
  EXPECT_FALSE(made->allow_process_engines);
  EXPECT_EQ(made->hub_url, "https://huggingface.co");
  EXPECT_EQ(made->hub_token + made->pip_index_url + made->worker_path, "");
  EXPECT_EQ(made->prices, domain::default_prices());
  EXPECT_EQ(made->budget_per_hour, domain::Money{});
  EXPECT_EQ(made->devices, std::nullopt);
  EXPECT_FALSE(made->webhooks.check("https://127.0.0.1/").ok());
  EXPECT_EQ(made->nvml, "libnvidia-ml.so.1");
  EXPECT_EQ(made->cores, 0);
  EXPECT_EQ(made->autoscaler_speed, 1);
}

TEST_F(ServerConfigTest, File_SetsEverything) {
  write("token", "hf_secret\n");
  const auto made = config_of(
      "listen: 127.0.0.1:1\nadmin_listen: '[::1]:2'\ndata_dir: data\ncache_dir: /c/../d\n"
      "worker: ./w\nmemory: 2GiB\ncores: 16\nautoscaler_speed: 50\ntemplate_memory: off\nspares: "
      "3\nprompt_cache: off\n"
      "cache_budget: 3GiB\ncache_scrub: off\ndecision_log: 64MiB\nallow_process_engines: "
      "true\nallow_private_sources: "
      "true\nlog_level: debug\n"
      "hub_url: https://hub.example\nhub_token_file: token\npip_index_url: http://127.0.0.1:8/s\n"
      "prices: {H100: {per_hour: 4, per_request: 0}}\nnvml: ./ml.so\nbudget_per_hour: 8.25\n"
      "devices: [{type: H100, memory: 80GiB, count: 2}]\n"
      "webhooks: {allow: [10.0.0.0/8], allow_http: true}\n"
      "files_budget: 1MiB\nballast: 32MiB\nbatch_lines: 100000\n");
  ASSERT_TRUE(made.ok()) << made.error().message;
  EXPECT_EQ(made->listen, "127.0.0.1:1");
  EXPECT_EQ(made->admin_listen, "[::1]:2");
  EXPECT_EQ(made->data_dir, dir_ + "/data");
  EXPECT_EQ(made->cache_dir, "/d");
  EXPECT_EQ(made->worker_path, dir_ + "/w");
  EXPECT_EQ(made->memory_bytes, 2ull << 30);
  EXPECT_EQ(made->template_bytes, 0u);
  EXPECT_EQ(made->cores, 16);
  EXPECT_EQ(made->autoscaler_speed, 50);
  EXPECT_EQ(made->spares, 3);
  EXPECT_EQ(made->prompt_cache_bytes, 0u);
  EXPECT_EQ(made->decision_log_bytes, 64ull << 20);
  EXPECT_EQ(made->cache_budget_bytes, 3ull << 30);
  EXPECT_EQ(made->cache_scrub, Duration(0));
  EXPECT_TRUE(made->allow_process_engines);
  EXPECT_TRUE(made->allow_private_sources);
  EXPECT_EQ(made->log_level, "debug");
  EXPECT_EQ(made->hub_url, "https://hub.example");
  EXPECT_EQ(made->hub_token, "hf_secret");
  EXPECT_EQ(made->pip_index_url, "http://127.0.0.1:8/s");
  EXPECT_EQ(made->prices.back(), (domain::DevicePrice{"H100", {{4'000'000}, {0}}}));
  EXPECT_EQ(made->budget_per_hour, domain::Money{8'250'000});
  ASSERT_EQ(made->devices->size(), 1u);
  EXPECT_EQ(made->devices->front().name, "H100");
  EXPECT_EQ(made->nvml, dir_ + "/ml.so");
  EXPECT_TRUE(made->webhooks.check("http://10.0.0.1/").ok());
  EXPECT_EQ(made->files_budget_bytes, 1ull << 20);
  EXPECT_EQ(made->ballast_bytes, 32ull << 20);
  EXPECT_EQ(made->batch_lines, 100'000);
}

TEST_F(ServerConfigTest, BoundsOfFilesAndBatches_AreNamedWhereTheyAreNone) {
  for (const char* text : {"files_budget: off\n", "files_budget: 0\n", "files_budget: some\n"}) {
    const auto made = config_of(text);
    ASSERT_FALSE(made.ok()) << text;
    EXPECT_THAT(made.error().message, ::testing::HasSubstr("files_budget: must be a size"));
  }
  for (const char* text : {"batch_lines: 0\n", "batch_lines: 1000001\n", "batch_lines: many\n"}) {
    const auto made = config_of(text);
    ASSERT_FALSE(made.ok()) << text;
    EXPECT_THAT(made.error().message, ::testing::HasSubstr("batch_lines"));
  }
}

// How much of a small disk it may take is storage/ballast.h's bound; the setting has none above.
TEST_F(ServerConfigTest, Ballast_IsASizeOrOff) {
  EXPECT_EQ(config()->ballast_bytes, storage::kBallastBytes);
  for (const auto& [text, bytes] : std::map<std::string, std::uint64_t>{
           {"off", 0}, {"1", 1}, {"64KiB", 64 << 10}, {"2TiB", 2ull << 40}}) {
    const auto made = config_of("ballast: " + text + "\n");
    ASSERT_TRUE(made.ok()) << made.error().message;
    EXPECT_EQ(made->ballast_bytes, bytes) << text;
  }
  for (const char* text : {"0", "-1", "0MiB", "1.5", "true", "some", "64 parsecs", "[64MiB]"})
    EXPECT_THAT(fault_of(std::string("ballast: ") + text + "\n"),
                HasSubstr("ballast: must be off or a size such as 8GiB, not "))
        << text;
}

TEST_F(ServerConfigTest, CommandLine_BeatsEnvironment_BeatsFile) {
  const std::string file = write(
      "glowplug.yaml",
      "listen: 127.0.0.1:1\nadmin_listen: 127.0.0.1:2\ndata_dir: /file/d\ncache_dir: /file/c\n"
      "memory: 1GiB\nallow_process_engines: true\nlog_level: warn\nhub_url: https://file\n"
      "pip_index_url: https://file\n");
  environment_ = {{"GLOWPLUG_DATA_DIR", "/env/d"},
                  {"GLOWPLUG_CACHE_DIR", "/env/c"},
                  {"HF_ENDPOINT", "https://env"},
                  {"HF_TOKEN", "env-token"},
                  {"PIP_INDEX_URL", "https://env"}};
  const auto made = config({.config_file = file,
                            .listen = "127.0.0.1:9",
                            .data_dir = "/flag/d",
                            .memory_bytes = 0,  // --memory auto
                            .allow_process_engines = false});
  ASSERT_TRUE(made.ok()) << made.error().message;
  EXPECT_EQ(made->listen, "127.0.0.1:9");
  EXPECT_EQ(made->admin_listen, "127.0.0.1:2");
  EXPECT_EQ(made->data_dir, "/flag/d");
  EXPECT_EQ(made->cache_dir, "/env/c");
  EXPECT_EQ(made->memory_bytes, 0u);
  EXPECT_FALSE(made->allow_process_engines);
  EXPECT_EQ(made->log_level, "warn");
  EXPECT_EQ(made->hub_url, "https://env");
  EXPECT_EQ(made->hub_token, "env-token");
  EXPECT_EQ(made->pip_index_url, "https://env");
}

TEST_F(ServerConfigTest, Faults_AreAllListedWithTheirKeys) {
  const std::string fault = fault_of(
      "lisen: 127.0.0.1:1\nlisten: 4569\nmemory: lots\nallow_process_engines: \"yes\"\n"
      "log_level: loud\nhub_token_file: /nonexistent/token\ndata_dir: ~/data\n"
      "hub_url: http://hub.example\nrevision: 7\ncache_scrub: 0\ncache_budget: off\n"
      "prices: {T4: {per_hour: free}}\ncores: 0\nautoscaler_speed: 101\n");
  for (const char* part :
       {"\n  cache_scrub: must be off or a duration such as 24h, not 0",
        "\n  cores: must be auto or a whole number from 1 to 1024, not 0",
        "\n  autoscaler_speed: must be a whole number from 1 to 100",
        "\n  cache_budget: must be auto or a size such as 8GiB, not \"off\"",
        "\n  prices.T4.per_hour: must be a number", "\n  prices.T4.per_request: is missing",
        "glowplug.yaml cannot be used:\n  ", "\n  lisen: unknown key; did you mean \"listen\"?",
        "\n  revision: unknown key; known are listen, ",
        "\n  listen: must be HOST:PORT such as 127.0.0.1:4569, not 4569",
        "\n  memory: must be auto or a size such as 8GiB, not \"lots\"",
        "\n  allow_process_engines: must be true or false, not \"yes\"",
        "\n  log_level: must be trace, debug, info, warn, error, not \"loud\"",
        "\n  hub_token_file: cannot open '/nonexistent/token': No such file",
        "\n  data_dir: \"~/data\": ~ is not replaced here", "\n  hub_url: must be an https://"}) {
    EXPECT_THAT(fault, HasSubstr(part));
  }
}

TEST_F(ServerConfigTest, Token_IsNeverInTheFileNorInAMessage) {
  for (const char* text :
       {"hub_token: hf_secret\n", "hub_token:\n", "hub_token_file: hf_secret\n"}) {
    const std::string fault = fault_of(text);
    EXPECT_THAT(fault, HasSubstr("a token does not belong into this file")) << text;
    EXPECT_THAT(fault, Not(HasSubstr("hf_secret")));
  }
  for (const char* content : {"", "\n", "two words\n", "two\nlines\n"}) {
    write("token", content);
    EXPECT_THAT(fault_of("hub_token_file: token\n"), HasSubstr("nothing else")) << content;
  }
}

TEST_F(ServerConfigTest, FileThatCannotBeRead_SaysWhy) {
  const auto missing = config({.config_file = dir_ + "/none.yaml"});
  ASSERT_FALSE(missing.ok());
  EXPECT_THAT(missing.error().message, HasSubstr("none.yaml': No such file or directory"));
  EXPECT_FALSE(config({.config_file = dir_}).ok());
  EXPECT_THAT(fault_of("listen: [\n"), HasSubstr("line 2"));
  EXPECT_THAT(fault_of("- listen\n"), HasSubstr("settings are a mapping of keys, not a list"));
  EXPECT_THAT(fault_of("listen: :1\nlisten: :2\n"), HasSubstr("appears twice"));
}

TEST_F(ServerConfigTest, CpuRow_SaysWhatMemorySays) {
  EXPECT_EQ(config_of("devices: [{type: CPU, memory: 2GiB}]\n")->memory_bytes, 2ull << 30);
  EXPECT_EQ(config_of("devices: [{type: CPU}]\nmemory: 1GiB\n")->memory_bytes, 1ull << 30);
  EXPECT_EQ(config_of("devices: [{type: CPU, memory: 2GiB}]\nmemory: 2GiB\n")->memory_bytes,
            2ull << 30);
  EXPECT_THAT(fault_of("devices: [{type: CPU, memory: 2GiB}]\nmemory: 1GiB\n"),
              HasSubstr("devices: say 2.1 GB of the CPU, and memory says 1.1 GB; leave one out"));
}

TEST_F(ServerConfigTest, Nvml_OffAutoOrAFile) {
  EXPECT_EQ(config_of("nvml: off\n")->nvml, "");
  EXPECT_EQ(config_of("nvml: auto\n")->nvml, "libnvidia-ml.so.1");
  EXPECT_EQ(config_of("nvml: /opt/ml.so\n")->nvml, "/opt/ml.so");
  EXPECT_THAT(fault_of("nvml: 5\n"), HasSubstr("nvml: must be text, not 5"));
}

TEST_F(ServerConfigTest, BudgetPerHour_IsOffOrAnAmount) {
  EXPECT_EQ(config_of("budget_per_hour: off\n")->budget_per_hour, domain::Money{});
  EXPECT_EQ(config_of("budget_per_hour: 0.000001\n")->budget_per_hour, domain::Money{1});
  for (const char* bad : {"0", "-1", "lots", "0.0000001", "10000001", "[5]", "5 EUR"})
    EXPECT_THAT(fault_of(std::string("budget_per_hour: ") + bad + "\n"),
                HasSubstr("budget_per_hour: must be off or a number above 0"))
        << bad;
}

TEST_F(ServerConfigTest, DeviceWhosePriceIsAtFault_IsNotToldAsWell) {
  const std::string fault = fault_of("prices: {H100: 5}\ndevices: [{type: H100, memory: 80GiB}]\n");
  EXPECT_THAT(fault, HasSubstr("prices.H100"));
  EXPECT_THAT(fault, Not(HasSubstr("devices")));
}

TEST_F(ServerConfigTest, FileOfCommentsOnly_SetsNothing) {
  for (const char* text : {"", "\n", "# nothing\n  # here", "---\n# nothing\n{}\n", "memory:\n"}) {
    const auto made = config_of(text);
    ASSERT_TRUE(made.ok()) << text << made.error().message;
    EXPECT_EQ(made->listen, "127.0.0.1:4569");
  }
}

// The published example: as it stands it sets the defaults; with the lines `#key: value` taken in
// it names every setting there is.
TEST_F(ServerConfigTest, Example_IsTheDefaultsAndNamesEverySetting) {
  std::ifstream example(GLOWPLUG_EXAMPLE_CONFIG);
  std::stringstream as_it_stands, uncommented;
  std::vector<std::string> named;
  for (std::string line; std::getline(example, line);) {
    as_it_stands << line << "\n";
    if (line.size() > 1 && line[0] == '#' && line[1] >= 'a' && line[1] <= 'z') line.erase(0, 1);
    uncommented << line << "\n";
    if (!line.empty() && line[0] >= 'a' && line[0] <= 'z')
      named.push_back(line.substr(0, line.find(':')));
  }
  const std::vector<std::string> known(config_keys().begin(), config_keys().end());
  EXPECT_THAT(named, ::testing::UnorderedElementsAreArray(known));

  const auto made = config_of(as_it_stands.str());
  ASSERT_TRUE(made.ok()) << made.error().message;
  const auto defaults = config();
  EXPECT_EQ(made->listen, defaults->listen);
  EXPECT_EQ(made->admin_listen, defaults->admin_listen);
  EXPECT_EQ(made->data_dir, defaults->data_dir);
  EXPECT_EQ(made->cache_dir, defaults->cache_dir);
  EXPECT_EQ(made->memory_bytes, defaults->memory_bytes);
  EXPECT_EQ(made->log_level, defaults->log_level);
  EXPECT_EQ(made->hub_url, defaults->hub_url);
  EXPECT_EQ(made->allow_process_engines, defaults->allow_process_engines);
  EXPECT_EQ(made->allow_private_sources, defaults->allow_private_sources);
  EXPECT_EQ(made->prices, defaults->prices);
  EXPECT_EQ(made->devices, defaults->devices);
  EXPECT_EQ(made->nvml, defaults->nvml);
  EXPECT_EQ(made->files_budget_bytes, defaults->files_budget_bytes);
  EXPECT_EQ(made->ballast_bytes, defaults->ballast_bytes);
  EXPECT_EQ(made->batch_lines, defaults->batch_lines);

  write("hub-token", "hf_x\n");
  const auto all = read_settings(uncommented.str(), dir_);
  ASSERT_TRUE(all.ok()) << all.error().message;
  EXPECT_TRUE(all->listen && all->admin_listen && all->data_dir && all->cache_dir && all->worker &&
              all->log_level && all->hub_url && all->hub_token && all->pip_index_url &&
              all->memory_bytes && all->allow_process_engines && all->allow_private_sources &&
              all->prices && all->devices && all->webhooks && all->nvml);
}

}  // namespace
}  // namespace glowplug::app
