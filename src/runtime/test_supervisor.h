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
#include <unistd.h>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

#include "runtime/supervisor.h"

namespace glowplug::runtime {

using namespace std::chrono_literals;

struct Recorder final : ReplicaObserver {
  void on_progress(domain::ProcessId, double fraction) override { progress.push_back(fraction); }
  void on_ready(domain::ProcessId replica, const std::string& layers) override {
    ++ready[replica.value];
    sandbox[replica.value] = layers;
  }
  void on_gone(domain::ProcessId replica, const std::string& text, control::Ending how) override {
    ending[replica.value] = how;
    ++gone;
    cause[replica.value] = text;
  }
  std::vector<double> progress;
  std::map<std::uint64_t, int> ready;
  std::map<std::uint64_t, std::string> cause, sandbox;
  std::map<std::uint64_t, control::Ending> ending;
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
