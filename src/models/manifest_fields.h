// Reads one object of a manifest, or of the server's settings, field by field and collects the
// faults.
//
// Each reading function leaves its target alone when the key is absent and adds a fault when the
// value does not fit, so that one pass finds everything.
//
// Thread: one owner. The object and the fault list outlive it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include "base/time_types.h"

namespace glowplug::models {

struct IntRange {
  std::int64_t low;
  std::int64_t high;
};

struct DurationRange {
  Duration low;
  Duration high;
};

class ManifestFields final {
 public:
  using Faults = std::vector<std::string>;

  ManifestFields(const boost::json::object& object, std::string path, Faults& faults)
      : object_(object), path_(std::move(path)), faults_(faults) {}

  void refuse_unknown(const std::vector<std::string_view>& known);
  const boost::json::value* find(std::string_view key) const;  // null is the same as absent
  void fault(std::string_view key, const std::string& what);
  std::string path_of(std::string_view key) const;
  Faults& faults() { return faults_; }

  void read_text(std::string_view key, std::string& into, std::size_t bytes_max);
  void read_texts(std::string_view key, std::vector<std::string>& into, std::size_t count_max,
                  std::size_t bytes_max);
  void read_text_map(std::string_view key, std::map<std::string, std::string>& into);
  // `or_word`: what else the key takes, for the fault; such as "auto or ".
  void read_int(std::string_view key, int& into, IntRange range, std::string_view or_word = "");
  void read_number(std::string_view key, double& into, double above, double most);
  void read_duration(std::string_view key, Duration& into, DurationRange range);
  void read_keep_alive(std::string_view key, Duration& into, Duration longest);
  // The chosen enumerator by its published word.
  template <typename Enum>
  void read_choice(std::string_view key, Enum& into,
                   std::initializer_list<std::pair<std::string_view, Enum>> choices) {
    std::vector<std::string_view> words;
    for (const auto& choice : choices) words.push_back(choice.first);
    const int picked = pick_word(key, words);
    if (picked >= 0) into = (choices.begin() + picked)->second;
  }

 private:
  int pick_word(std::string_view key, const std::vector<std::string_view>& words);

  const boost::json::object& object_;
  std::string path_;
  Faults& faults_;
};

// Nothing when it is no number, or none that is finite.
std::optional<double> number_of(const boost::json::value& value);

// Of a size such as "4GiB", or of bytes; nothing when it is neither, or not 1 MiB to 1 PiB.
std::optional<std::uint64_t> memory_of(const boost::json::value& value);

// A JSON value for a message: short, one line.
std::string shown(const boost::json::value& value);

}  // namespace glowplug::models
