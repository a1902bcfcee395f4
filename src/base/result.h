// Result<T>: a value, or an Error that says what went wrong and what to do about it.
//
// Everything the world can cause (a missing file, a full disk, a bad request) travels as a Result;
// exceptions of third-party libraries are turned into one in the file that calls the library. What
// only we can cause is a GLOWPLUG_ASSERT. An Error's code is one of api/errors.yaml, where its HTTP
// status is written too.
//
// Thread: values, no sharing.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace glowplug {

struct Error {
  std::string code;     // a name from api/errors.yaml, e.g. "model_not_found"
  std::string message;  // one sentence with the values and, where there is one, the fix
  std::string param;    // the request or manifest field at fault; empty when none is

  friend bool operator==(const Error&, const Error&) = default;
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & { return std::get<0>(state_); }
  const T& value() const& { return std::get<0>(state_); }
  T&& value() && { return std::get<0>(std::move(state_)); }
  T* operator->() { return &std::get<0>(state_); }
  const T* operator->() const { return &std::get<0>(state_); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }

  const Error& error() const { return std::get<1>(state_); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}

  bool ok() const { return !error_; }
  explicit operator bool() const { return ok(); }
  const Error& error() const { return *error_; }

 private:
  std::optional<Error> error_;
};

}  // namespace glowplug

// One condition each; on in release builds, because a broken invariant must not reach a caller's
// data.
#define GLOWPLUG_ASSERT(condition)                                                         \
  do {                                                                                     \
    if (!(condition)) {                                                                    \
      std::fprintf(stderr, "%s:%d: this must hold: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                        \
    }                                                                                      \
  } while (false)
