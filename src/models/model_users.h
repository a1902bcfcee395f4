// Which deployed functions name which model, so that none of theirs is evicted.
//
// A function that is deployed anew keeps its former model too: the old revision serves until the
// new one is ready, and a roll-back finds its file. Digests are asked for when they are needed,
// because a source is known by its digest only once it was fetched.
//
// Thread: any.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace glowplug::models {

struct ModelWish {
  std::string source;
  std::string sha256_pin;  // empty = none
  friend bool operator==(const ModelWish&, const ModelWish&) = default;
};

using FunctionsOfDigest = std::map<std::string, std::vector<std::string>>;

class ModelUsers final {
 public:
  void deploy(const std::string& function, const ModelWish& wish);
  // What it holds beside these: all that serves of it, and what its checkpoints name.
  void hold(const std::string& function, std::vector<ModelWish> held);
  void remove(const std::string& function);

  // `digest_of` gives the empty string for what is not known.
  FunctionsOfDigest by_digest(const std::function<std::string(const ModelWish&)>& digest_of) const;

 private:
  struct Use {
    ModelWish now;
    std::optional<ModelWish> before = {};
    std::vector<ModelWish> held = {};
  };
  mutable std::mutex mutex_;
  std::map<std::string, Use> uses_;
};

}  // namespace glowplug::models
