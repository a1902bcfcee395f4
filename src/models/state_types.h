// The words about prompt states: whose one is, what it fits, why one is refused.
//
// Thread: values.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace glowplug::models {

// All of it must be equal before a state may be used: it is bytes of one engine's memory.
struct StateFit {
  std::string model_sha256;
  std::string engine;    // commit and flags
  std::string settings;  // canonical words of the context's settings
  std::string adapters;

  friend bool operator==(const StateFit&, const StateFit&) = default;
};

struct StateOwner {
  std::string tenant;  // names the key
  std::string domain;  // who within the tenant: opaque printable text

  friend bool operator==(const StateOwner&, const StateOwner&) = default;
};

enum class StateRefusal {
  NotAState,       // another kind of file
  ForeignVersion,  // of the file, or of the engine's format inside it
  WrongLength,     // empty, cut off, or longer than its header says
  HeaderDamaged,
  NotAuthentic,  // changed after it was sealed, or sealed with another key
  NoKey,         // its tenant was forgotten
  OtherOwner,
  OtherFit,
  Unknown,      // no such state, or no longer
  TooLarge,     // for the budget or the bounds
  NoRoom,       // beside what is being written now
  Unreadable,   // the system could not read, write or give memory
  BadArgument,  // a name or text that no state may carry
};

inline constexpr std::array kStateRefusals{
    StateRefusal::NotAState,     StateRefusal::ForeignVersion, StateRefusal::WrongLength,
    StateRefusal::HeaderDamaged, StateRefusal::NotAuthentic,   StateRefusal::NoKey,
    StateRefusal::OtherOwner,    StateRefusal::OtherFit,       StateRefusal::Unknown,
    StateRefusal::TooLarge,      StateRefusal::NoRoom,         StateRefusal::Unreadable,
    StateRefusal::BadArgument};

std::string_view to_string(StateRefusal reason);  // a label for metrics, such as "wrong_length"

// Whether the file itself is at fault, so that it is removed rather than kept for another asker.
bool is_damage(StateRefusal reason);

struct Refused {
  StateRefusal reason = StateRefusal::Unreadable;
  std::string words;
};

// What no state may carry: an empty or overlong name, anything that cannot be printed.
std::optional<Refused> fault_of(const StateOwner& owner, const StateFit& fit);

// A value, or why there is none.
template <typename T>
class [[nodiscard]] OrRefused {
 public:
  OrRefused(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  OrRefused(Refused refused) : state_(std::in_place_index<1>, std::move(refused)) {}

  explicit operator bool() const { return state_.index() == 0; }
  T& operator*() { return std::get<0>(state_); }
  const T& operator*() const { return std::get<0>(state_); }
  T* operator->() { return &std::get<0>(state_); }
  const T* operator->() const { return &std::get<0>(state_); }
  const Refused& refused() const { return std::get<1>(state_); }

 private:
  std::variant<T, Refused> state_;
};

}  // namespace glowplug::models
