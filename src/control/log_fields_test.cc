// Nothing that an event or an effect holds is forgotten by the log: the alternatives are taken from
// the variants themselves, and the members from their types.
#include "control/log_fields.h"

#include <sstream>

#include <boost/json.hpp>
#include <boost/pfr.hpp>
#include <gtest/gtest.h>

#include "control/decision_log.h"

namespace glowplug::control {
namespace {

using namespace std::chrono_literals;

// Where fields() leaves members out on purpose, so many.
template <typename One>
constexpr std::size_t kLeftOut = 0;
template <>
constexpr std::size_t kLeftOut<Decision> = 1;  // `at` is the turn's time
template <>
constexpr std::size_t kLeftOut<StartProcess> = 1;  // `spare` follows from the others

template <typename Value>
struct Inner {
  using Type = Value;
};
template <typename Value>
struct Inner<std::vector<Value>> : Inner<Value> {};
template <typename Value>
struct Inner<std::optional<Value>> : Inner<Value> {};

struct Nothing {
  template <typename... Args>
  void operator()(const Args&...) {}
  template <typename... Args>
  void hide(const Args&...) {}
  template <typename... Args>
  void hide_query(const Args&...) {}
};
template <typename Value>
constexpr bool kHasFields = requires(Nothing& archive, Value& value) {
  fields(archive, value);
};

// Counts the members that fields() names, of a type and of all that it holds.
class Counter final {
 public:
  template <typename Value>
  static void check() {
    Counter counter;
    Value value{};
    fields(counter, value);
    if constexpr (std::is_aggregate_v<Value>) {
      EXPECT_EQ(counter.count_ + kLeftOut<Value>, boost::pfr::tuple_size_v<Value>)
          << "log_fields.h does not name each member of " << __PRETTY_FUNCTION__;
    }
  }
  template <typename Value>
  void operator()(std::string_view, Value&) {
    ++count_;
    using Held = typename Inner<Value>::Type;
    if constexpr (kHasFields<Held> && !kIsId<Held>) check<Held>();
  }
  template <typename Value>
  void hide(std::string_view name, Value& value) {
    (*this)(name, value);
  }
  void hide_query(std::string_view name, std::string& url) { (*this)(name, url); }

 private:
  std::size_t count_ = 0;
};

// Gives each member a value that it has not by itself.
class Filler final {
 public:
  template <typename Value>
  void operator()(std::string_view, Value& value) {
    fill(value);
  }
  template <typename Value>
  void hide(std::string_view, Value& value) {
    fill(value);
  }
  void hide_query(std::string_view, std::string& url) { url = "https://m.example/a?key"; }

 private:
  void fill(bool& value) { value = !value; }
  void fill(std::string& value) { value = "text " + std::to_string(++last_); }
  void fill(Duration& value) { value = Duration(++last_); }
  void fill(Time& value) { value = Time(Duration(++last_)); }
  void fill(std::map<std::string, std::string>& value) { value = {{"key", "secret"}}; }
  void fill(domain::SharedTokens& value) {
    value = std::make_shared<const std::vector<std::int32_t>>(5, ++last_);
  }
  template <typename Value>
  void fill(std::vector<Value>& value) {
    value.resize(2);
    for (Value& one : value) fill(one);
  }
  template <typename Value>
  void fill(std::optional<Value>& value) {
    fill(value.emplace());
  }
  template <typename Value>
  void fill(Value& value) {
    if constexpr (std::is_enum_v<Value>) {
      value = static_cast<Value>(count_of(Value{}) - 1);
    } else if constexpr (std::is_floating_point_v<Value>) {
      value = ++last_ + 1.0 / 3;
    } else if constexpr (std::is_integral_v<Value>) {
      value = static_cast<Value>(++last_);
    } else if constexpr (kIsId<Value>) {
      value.value = static_cast<std::uint64_t>(++last_);
    } else {
      fields(*this, value);
    }
  }

  int last_ = 0;
};

template <typename Value>
std::string written(const Value& value, std::string& definitions,
                    Secrets secrets = Secrets::Hidden) {
  LogTables tables;
  LogWriter writer(tables, secrets);
  writer.object(value);
  definitions = writer.take_definitions();
  return writer.take();
}

template <typename One>
void comes_back() {
  One one{};
  Filler filler;
  fields(filler, one);
  std::string definitions, again;
  const std::string text = written(one, definitions);
  LogTables tables;
  LogReader reader(tables);
  std::istringstream lines(definitions);
  for (std::string line; std::getline(lines, line);)
    EXPECT_TRUE(reader.take_definition(boost::json::parse(line)));
  One back{};
  reader.object(boost::json::parse(text), back);
  EXPECT_EQ(reader.fault(), "") << text;
  EXPECT_EQ(written(back, again, Secrets::AsTheyAre), text);
  EXPECT_EQ(again, definitions);
}

template <typename Variant, typename Visit, std::size_t... Index>
void each_alternative(const Visit& visit, std::index_sequence<Index...>) {
  (visit(std::variant_alternative_t<Index, Variant>{}), ...);
}
template <typename Variant, typename Visit>
void each_alternative(const Visit& visit) {
  each_alternative<Variant>(visit, std::make_index_sequence<std::variant_size_v<Variant>>{});
}

TEST(LogFields, EachMemberOfEachEventAndEffect_IsNamed) {
  const auto check = []<typename One>(const One&) { Counter::check<One>(); };
  each_alternative<Event>(check);
  each_alternative<Effect>(check);
  Counter::check<BrainOptions>();
  Counter::check<domain::Manifest>();
  Counter::check<domain::ModelFacts>();
}

TEST(LogFields, EachEventAndEffect_ComesBackAsItWent) {
  const auto check = []<typename One>(const One&) { comes_back<One>(); };
  each_alternative<Event>(check);
  each_alternative<Effect>(check);
  comes_back<BrainOptions>();
}

TEST(LogFields, EachEvent_IsReplayedUnderItsOwnName) {
  each_alternative<Event>([]<typename One>(One event) {
    if constexpr (std::is_same_v<One, TrafficSet>)
      event.served = {{.manifest = {.name = "f"}, .revision = 1, .weight = 100}};
    const BrainOptions options{.memory_bytes = 1'000'000'000};
    Brain brain(options);
    DecisionLog log;
    const Effects effects = brain.handle(event, Time(5s), WallTime(7ms));
    std::string text = log.head(options, {});
    text += log.turn(event, Time(5s), WallTime(7ms), effects, brain);
    std::istringstream lines(text);
    Replay replay;
    for (std::string line; std::getline(lines, line);) {
      const auto same = replay.take(line);
      ASSERT_TRUE(same.ok()) << line << "\n" << same.error().message;
      ASSERT_TRUE(*same) << replay.difference()->decided;
    }
    EXPECT_EQ(replay.turns(), 1u);
  });
}

}  // namespace
}  // namespace glowplug::control
