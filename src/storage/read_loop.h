// A thread with a read-only connection to the state file: lists and results are read here, beside
// the writes, and slow ones delay nobody's commit.
//
// What was committed before a read is posted is seen by it. Thread: post() from any; `read` runs on
// this object's own thread; `done` where `deliver` takes it.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "base/result.h"
#include "storage/sqlite.h"

namespace glowplug::storage {

inline constexpr std::size_t kReadsWaitingMax = 4'096;

class ReadLoop final {
 public:
  using Read = std::function<Result<void>(Database&)>;
  using Done = std::function<void(const Result<void>&)>;
  using Deliver = std::function<void(std::function<void()>)>;

  static Result<std::unique_ptr<ReadLoop>> open(const std::string& file, Deliver deliver);
  ~ReadLoop();

  // An error (server_is_overloaded) at once where too many wait: `done` gets it like any other.
  void post(Read read, Done done);
  // The same for what has a value: `read` is Result<Value>(Database&), `done` takes Result<Value>.
  template <typename Ask, typename Given>
  void ask(Ask read, Given done) {
    using Answer = std::invoke_result_t<Ask, Database&>;
    const auto answer = std::make_shared<std::optional<Answer>>();  // owners: both lambdas
    post(
        [answer, read = std::move(read)](Database& database) -> Result<void> {
          answer->emplace(read(database));
          if (!(*answer)->ok()) return (*answer)->error();
          return {};
        },
        [answer, done = std::move(done)](const Result<void>& ran) {
          if (!ran) return done(Answer(ran.error()));
          done(**std::move(answer));
        });
  }

 private:
  struct State;
  explicit ReadLoop(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace glowplug::storage
