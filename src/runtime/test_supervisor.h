// A supervisor on a loop of its own and what it said, for tests with real processes.
//
// Thread: one test.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unistd.h>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

#include "base/read_file.h"
#include "runtime/supervisor.h"

namespace glowplug::runtime {

using namespace std::chrono_literals;

struct Recorder final : ReplicaObserver {
  void on_progress(domain::ProcessId, double fraction) override { progress.push_back(fraction); }
  void on_ready(domain::ProcessId replica, const std::string& layers,
                std::optional<std::uint64_t> read) override {
    ++ready[replica.value];
    bytes_read[replica.value] = read;
    sandbox[replica.value] = layers;
  }
  void on_kept(domain::ProcessId, std::vector<KeptCopy> copies) override {
    for (KeptCopy& copy : copies) kept.push_back(std::move(copy.file));
  }
  void on_wants(domain::ProcessId, std::uint64_t state) override { wanted.push_back(state); }
  void on_gone(domain::ProcessId replica, const ProcessEnd& end) override {
    ending[replica.value] = end.ending;
    reason[replica.value] = end.reason;
    most_bytes[replica.value] = end.most_bytes;
    ++gone;
    cause[replica.value] = end.cause;
  }
  std::vector<double> progress;
  std::map<std::uint64_t, int> ready;
  std::map<std::uint64_t, std::optional<std::uint64_t>> bytes_read, most_bytes;
  std::map<std::uint64_t, std::string> cause, sandbox;
  std::map<std::uint64_t, control::Ending> ending;
  std::map<std::uint64_t, domain::ExitReason> reason;
  std::vector<UniqueFd> kept;
  std::vector<std::uint64_t> wanted;
  int gone = 0;
};

class SupervisorFixture : public ::testing::Test {
 protected:
  SupervisorFixture() {
    char name[] = "/tmp/gp-sup-XXXXXX";
    dir_ = ::mkdtemp(name);
  }
  ~SupervisorFixture() override {
    supervisor_.reset();
    std::filesystem::remove_all(dir_);
  }

  // Folders and addresses are the fixture's.
  void supervise(SupervisorOptions options) {
    options.run_dir = dir_ + "/run";
    options.server_url = "http://127.0.0.1:1";
    options.templates_dir = "/t";
    supervisor_ = std::make_unique<Supervisor>(loop_, std::move(options), seen_);
  }

  // Where /proc sees a process, all hierarchies together.
  static std::string groups_of(pid_t pid) {
    return read_text("/proc/" + std::to_string(pid) + "/cgroup");
  }
  // Ends a line of it, for a process in its leaf.
  static std::string leaf_name(std::uint64_t id) {
    return "/glowplug-" + std::to_string(::getpid()) + "/" + std::to_string(id) + "\n";
  }
  // Skips the test, with the machine's reason, where no leaf has this controller.
  void need(std::string_view controller) {
    const CgroupReport report = supervisor_->cgroups();
    if (report.layers.find(controller) == std::string::npos)
      GTEST_SKIP() << report.layers << (report.refused.empty() ? "" : ": " + report.refused[0]);
  }
  // Leaves of this process, in whichever hierarchy.
  static int leaf_count(std::uint64_t id) {
    namespace fs = std::filesystem;
    const std::string name = leaf_name(id).substr(1);
    int count = 0;
    std::error_code ignored;
    for (fs::recursive_directory_iterator at("/sys/fs/cgroup", ignored), end; at != end;
         at.increment(ignored))
      if (at->path().string().ends_with("/" + name.substr(0, name.size() - 1))) ++count;
    return count;
  }

  bool until(const std::function<bool()>& condition) {
    const auto end = std::chrono::steady_clock::now() + 5s;
    while (!condition() && std::chrono::steady_clock::now() < end) {
      loop_.restart();
      loop_.run_one_for(20ms);
    }
    return condition();
  }

  std::string dir_;
  boost::asio::io_context loop_;
  Recorder seen_;
  std::unique_ptr<Supervisor> supervisor_;
};

}  // namespace glowplug::runtime
