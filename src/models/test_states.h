// What tests of prompt states share: engine files made of numbers, a store whose clock is a field,
// and a look at files and descriptors. Thread: one owner.
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/unique_fd.h"
#include "models/prompt_store.h"
#include "models/test_folder.h"

namespace glowplug::models {

inline const StateOwner kAnn{.tenant = "ann", .domain = "key-1"};
inline const StateOwner kAnnElsewhere{.tenant = "ann", .domain = "key-2"};
inline const StateOwner kBob{.tenant = "bob", .domain = "key-1"};
inline const StateFit kFit{.model_sha256 = std::string(64, 'a'),
                           .engine = "llama.cpp 0c1e570 cpu",
                           .settings = "context=2048 kv=f16",
                           .adapters = ""};

inline std::string engine_text(const Tokens& tokens, std::size_t data_bytes) {
  std::string text;
  const std::uint32_t head[3] = {kEngineStateMagic, kEngineStateVersion,
                                 static_cast<std::uint32_t>(tokens.size())};
  text.append(reinterpret_cast<const char*>(head), sizeof(head));
  text.append(reinterpret_cast<const char*>(tokens.data()), tokens.size() * sizeof(tokens[0]));
  for (std::size_t i = 0; i < data_bytes; ++i)
    text += static_cast<char>((i * 31 + tokens.size() * 7 + i / 256) & 0xff);
  return text;
}

inline UniqueFd memory_file(const std::string& text, unsigned flags = MFD_ALLOW_SEALING) {
  UniqueFd fd(::memfd_create("test", MFD_CLOEXEC | flags));
  EXPECT_EQ(::write(fd.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  return fd;
}

inline std::string text_of(int fd) {  // from its offset on
  std::string text;
  char buffer[4096];
  for (ssize_t n = 0; (n = ::read(fd, buffer, sizeof(buffer))) > 0;)
    text.append(buffer, static_cast<std::size_t>(n));
  return text;
}

inline std::string file_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void write_file(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

inline std::size_t open_descriptors() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& one : std::filesystem::directory_iterator("/proc/self/fd"))
    ++count;
  return count;
}

class StateWorld final {
  TestFolder folder_;  // before what is made from its path

 public:
  std::int64_t now = 1'000'000;
  PromptStoreOptions options{.folder = folder_.path() + "/prompts",
                             .budget_bytes = 1 << 20,
                             .ttl = std::chrono::hours(24)};

  Result<std::unique_ptr<PromptStore>> try_open() {
    return PromptStore::open(options, [this] { return now; });
  }
  PromptStore& open() {  // as after a restart
    store_.reset();
    auto opened = try_open();
    if (!opened) {
      ADD_FAILURE() << opened.error().message;
      std::abort();
    }
    store_ = std::move(*opened);
    return *store_;
  }
  void close() { store_.reset(); }

  // 0 when it was refused.
  static std::uint64_t keep(PromptStore& store, const Tokens& tokens, std::size_t data_bytes = 100,
                            const StateOwner& owner = kAnn, const StateFit& fit = kFit) {
    const auto id = store.keep(owner, fit, memory_file(engine_text(tokens, data_bytes)).get());
    return id ? *id : 0;
  }

  std::string states() const { return options.folder + "/states"; }
  std::vector<std::string> files() const {
    std::vector<std::string> paths;
    for (const auto& file : std::filesystem::directory_iterator(states()))
      paths.push_back(file.path().string());
    return paths;
  }

 private:
  std::unique_ptr<PromptStore> store_;
};

// What load() hands out, or the code of its refusal.
inline std::string loaded(PromptStore& store, std::uint64_t id, const StateOwner& owner = kAnn,
                          const StateFit& fit = kFit) {
  const auto fd = store.load(owner, fit, id);
  return fd ? text_of(fd->get()) : fd.error().code;
}

inline StateIds ids_of(PromptStore& store, const StateOwner& owner = kAnn,
                       const StateFit& fit = kFit) {
  StateIds ids;
  for (const KeptState& state : store.remembered(owner, fit)) ids.push_back(state.id);
  return ids;
}

}  // namespace glowplug::models
