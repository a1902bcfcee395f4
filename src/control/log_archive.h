// Values as compact JSON and back, by one description of each (control/log_fields.h): a function
// fields(archive, value) that names its members serves for both ways.
//
// What is zero, empty or not there is left out, and what is absent is read as that. Times are
// nanoseconds, wall time milliseconds, enumerators numbers. Manifests and model facts, which come
// again and again, are written once each and named by number after that.
//
// What nobody is to read later is replaced by what stands for it: prompts and secrets. That is a
// number for each that is different, in the order in which they come, so that it tells nothing but
// the length and which ones are equal, and decisions are the same.
//
// Thread: one owner.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include <boost/json/value.hpp>

#include "base/time_types.h"
#include "domain/ids.h"
#include "domain/learned_prime.h"
#include "domain/manifest.h"
#include "domain/model_facts.h"

namespace glowplug::control {

template <typename Value>
inline constexpr bool kIsId =
    std::is_same_v<Value, domain::CallId> || std::is_same_v<Value, domain::ProcessId>;
template <typename Value>
struct IsList : std::false_type {};
template <typename Element>
struct IsList<std::vector<Element>> : std::true_type {};
template <typename Value>
struct IsOptional : std::false_type {};
template <typename Value>
struct IsOptional<std::optional<Value>> : std::true_type {};

// A log that was read holds what stands for secrets, and is written again as it is.
enum class Secrets { Hidden, AsTheyAre };

// What is written once: by number from 1, in the order of their first use.
struct LogTables {
  std::map<std::string, int> manifest_numbers, facts_numbers;  // writing: by their text
  std::unordered_map<std::uint64_t, std::uint64_t> hidden;     // writing: by a hash of theirs
  std::vector<domain::Manifest> manifests;                     // reading
  std::vector<domain::ModelFacts> facts;
};

class LogWriter final {
 public:
  explicit LogWriter(LogTables& tables, Secrets secrets = Secrets::Hidden)
      : tables_(tables), secrets_(secrets) {}

  // A member, unless it says nothing.
  template <typename Value>
  void operator()(std::string_view name, Value& value) {
    const std::size_t before = text_.size();
    text_ += text_.back() == '{' ? "\"" : ",\"";
    text_ += name;
    text_ += "\":";
    const std::size_t at = text_.size();
    write(value);
    const std::string_view said = std::string_view(text_).substr(at);
    if (said == "0" || said == "false" || said == "\"\"" || said == "\"0\"" || said == "null" ||
        said == "[]" || said == "{}")
      text_.resize(before);
  }
  void hide(std::string_view name, std::string& text);
  void hide(std::string_view name, std::vector<std::string>& texts);
  void hide(std::string_view name, std::map<std::string, std::string>& texts);  // the values
  void hide_query(std::string_view name, std::string& url);

  template <typename Value>
  void object(const Value& value) {
    text_ += '{';
    fields(*this, const_cast<Value&>(value));  // which only reads it here
    text_ += '}';
  }
  void raw(std::string_view text) { text_ += text; }
  void string(std::string_view text);
  void number(std::int64_t value) { text_ += std::to_string(value); }

  // The lines that say what numbers stand for, where new ones were given since the last time.
  std::string take_definitions() { return std::exchange(definitions_, {}); }
  std::string take() { return std::exchange(text_, {}); }

 private:
  template <typename Value>
  void write(const Value& value) {
    if constexpr (std::is_same_v<Value, bool>) {
      text_ += value ? "true" : "false";
    } else if constexpr (std::is_enum_v<Value>) {
      number(static_cast<std::int64_t>(value));
    } else if constexpr (std::is_floating_point_v<Value>) {
      fraction(value);
    } else if constexpr (std::is_integral_v<Value>) {
      text_ += std::to_string(value);
    } else if constexpr (std::is_same_v<Value, std::string>) {
      string(value);
    } else if constexpr (std::is_same_v<Value, Duration>) {
      number(value.count());
    } else if constexpr (std::is_same_v<Value, Time>) {
      number(value.time_since_epoch().count());
    } else if constexpr (kIsId<Value>) {
      text_ += std::to_string(value.value);
    } else if constexpr (IsOptional<Value>::value) {
      if (!value) return raw("null");
      text_ += '[';
      write(*value);
      text_ += ']';
    } else if constexpr (IsList<Value>::value) {
      text_ += '[';
      for (const auto& element : value) {
        if (text_.back() != '[') text_ += ',';
        write(element);
      }
      text_ += ']';
    } else {
      object(value);
    }
  }
  void fraction(double value);  // in quotes: a reader of JSON may not keep its last digit
  void write(const domain::Manifest& manifest);
  void write(const domain::ModelFacts& facts);
  void write(const domain::SharedTokens& tokens);

  template <typename Value>
  int number_of(const Value& value, std::string_view kind, std::map<std::string, int>& numbers);
  std::uint64_t stand_in(std::uint64_t hash);
  std::string hidden(const std::string& text);

  LogTables& tables_;
  Secrets secrets_;
  std::string text_, definitions_;
};

class LogReader final {
 public:
  explicit LogReader(LogTables& tables) : tables_(tables) {}

  // False when the text did not say what was wanted; the first fault is kept.
  bool ok() const { return fault_.empty(); }
  const std::string& fault() const { return fault_; }

  template <typename Value>
  void operator()(std::string_view name, Value& value) {
    const boost::json::value* found = here_ == nullptr ? nullptr : member(*here_, name);
    if (found == nullptr) return clear(value);
    const std::string_view outer = std::exchange(name_, name);
    read(*found, value);
    name_ = outer;
  }
  template <typename Value>
  void hide(std::string_view name, Value& value) {
    (*this)(name, value);
  }
  void hide_query(std::string_view name, std::string& url) { (*this)(name, url); }
  template <typename Value>
  void object(const boost::json::value& from, Value& value) {
    if (!from.is_object()) return fail("must be an object");
    const boost::json::value* outer = std::exchange(here_, &from);
    fields(*this, value);
    here_ = outer;
  }
  // {"manifest":{…},"number":1}: true when it was one of these lines.
  bool take_definition(const boost::json::value& line);

 private:
  static const boost::json::value* member(const boost::json::value& of, std::string_view name);
  void fail(std::string_view what);
  std::int64_t integer(const boost::json::value& from);
  std::uint64_t whole(const boost::json::value& from);
  double fraction(const boost::json::value& from);

  // As if each of its members were absent.
  template <typename Value>
  void clear(Value& value) {
    if constexpr (requires { fields(*this, value); } && !kIsId<Value> &&
                  !std::is_same_v<Value, domain::Manifest> &&
                  !std::is_same_v<Value, domain::ModelFacts>) {
      const boost::json::value* outer = std::exchange(here_, nullptr);
      fields(*this, value);
      here_ = outer;
    } else {
      value = Value{};
    }
  }

  template <typename Value>
  void read(const boost::json::value& from, Value& value) {
    if constexpr (std::is_same_v<Value, bool>) {
      if (!from.is_bool()) return fail("must be true or false");
      value = from.get_bool();
    } else if constexpr (std::is_enum_v<Value>) {
      const std::int64_t read = integer(from);
      if (read < 0 || read >= count_of(Value{})) return fail("is no enumerator");
      value = static_cast<Value>(read);
    } else if constexpr (std::is_floating_point_v<Value>) {
      value = fraction(from);
    } else if constexpr (std::is_same_v<Value, std::uint64_t> ||
                         std::is_same_v<Value, std::size_t>) {
      value = whole(from);
    } else if constexpr (kIsId<Value>) {
      value.value = whole(from);
    } else if constexpr (std::is_integral_v<Value>) {
      const std::int64_t read = integer(from);
      value = static_cast<Value>(read);
      if (static_cast<std::int64_t>(value) != read) fail("is too large");
    } else if constexpr (std::is_same_v<Value, std::string>) {
      if (!from.is_string()) return fail("must be a string");
      value = std::string(from.get_string());
    } else if constexpr (std::is_same_v<Value, Duration>) {
      value = Duration(integer(from));
    } else if constexpr (std::is_same_v<Value, Time>) {
      value = Time(Duration(integer(from)));
    } else if constexpr (IsOptional<Value>::value) {
      if (!from.is_array() || from.get_array().size() != 1) return fail("must be a list of one");
      read(from.get_array().front(), value.emplace());
    } else if constexpr (IsList<Value>::value) {
      if (!from.is_array()) return fail("must be a list");
      value.clear();
      for (const boost::json::value& element : from.get_array())
        read(element, value.emplace_back());
    } else {
      object(from, value);
    }
  }
  void read(const boost::json::value& from, domain::Manifest& manifest);
  void read(const boost::json::value& from, domain::ModelFacts& facts);
  void read(const boost::json::value& from, domain::SharedTokens& tokens);
  void read(const boost::json::value& from, std::map<std::string, std::string>& texts);

  LogTables& tables_;
  const boost::json::value* here_ = nullptr;  // the object whose members are read; null: none
  std::string_view name_;
  std::string fault_;
};

}  // namespace glowplug::control
