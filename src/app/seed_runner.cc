#include "app/seed_runner.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <map>
#include <poll.h>
#include <system_error>
#include <unistd.h>

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/unique_fd.h"
#include "domain/errors.h"
#include "simulate/scenario.h"

namespace glowplug::app {
namespace {

constexpr std::size_t kFailuresKept = 100;
constexpr std::size_t kWordsMax = 400;
constexpr std::uint64_t kSeedsMax = 100'000'000, kLastSeed = 1'000'000'000'000;

// What a child says of a seed, before it and after it; short enough to be written at once.
struct Message {
  enum class What : std::uint32_t { Begins, Held, Failed } what = What::Begins;
  std::uint64_t seed = 0, calls = 0, answered = 0, cold = 0, faults = 0, turns = 0, digest = 0;
  std::int64_t virtual_ns = 0;
  char words[kWordsMax] = {};
};
static_assert(sizeof(Message) <= PIPE_BUF);

struct Child {
  pid_t pid = -1;
  UniqueFd pipe;
  std::optional<std::uint64_t> seed;  // that it is at
  std::string half;                   // of a message
};

Error failed(const std::string& what, int number) {
  return {std::string(domain::error::kServerError),
          fmt::format("{}: {}", what, std::generic_category().message(number)), ""};
}

[[noreturn]] void run_stripe(const SeedRange& range, std::uint64_t step, int to) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (std::uint64_t seed = range.first; seed <= range.last; seed += step) {
    Message message{.seed = seed};
    if (::write(to, &message, sizeof message) != sizeof message) ::_exit(1);
    const simulate::ScenarioResult result = simulate::run_scenario({.seed = seed});
    message.what = result.violation ? Message::What::Failed : Message::What::Held;
    message.calls = result.requests;
    message.answered = result.answered;
    message.cold = result.cold;
    message.faults = static_cast<std::uint64_t>(result.faults);
    message.turns = result.turns;
    message.digest = result.digest;
    message.virtual_ns = result.virtual_time.count();
    if (result.violation) {
      const std::string words = fmt::format("{}, turn {}: {}", result.violation->rule,
                                            result.violation->turn, result.violation->what);
      std::memcpy(message.words, words.data(), std::min(words.size(), kWordsMax - 1));
    }
    if (::write(to, &message, sizeof message) != sizeof message) ::_exit(1);
  }
  ::_exit(0);
}

class Runner final {
 public:
  Runner(const SeedRange& range, const std::function<void(std::uint64_t)>& progress)
      : range_(range), progress_(progress) {}

  Result<void> start(std::uint64_t first, std::uint64_t step) {
    int ends[2];
    if (::pipe(ends) != 0) return failed("no pipe", errno);
    UniqueFd from(ends[0]), to(ends[1]);
    const pid_t pid = ::fork();
    if (pid < 0) return failed("no process can be started", errno);
    if (pid == 0) {
      from.reset();
      run_stripe({first, range_.last}, step, to.get());
    }
    children_.push_back({.pid = pid, .pipe = std::move(from)});
    steps_.push_back(step);
    return {};
  }

  Result<SeedTotals> run() {
    while (!children_.empty()) {
      std::vector<pollfd> waits;
      for (const Child& child : children_) waits.push_back({child.pipe.get(), POLLIN, 0});
      if (::poll(waits.data(), waits.size(), -1) < 0 && errno != EINTR)
        return failed("poll", errno);
      for (std::size_t i = waits.size(); i-- > 0;)
        if (waits[i].revents != 0)
          if (const Result<void> read = read_from(i); !read) return read.error();
    }
    std::sort(totals_.failures.begin(), totals_.failures.end(),
              [](const SeedFailure& a, const SeedFailure& b) { return a.seed < b.seed; });
    return totals_;
  }

 private:
  Result<void> read_from(std::size_t number) {
    Child& child = children_[number];
    char bytes[16 * sizeof(Message)];
    const ssize_t read = ::read(child.pipe.get(), bytes, sizeof bytes);
    if (read < 0) return errno == EINTR ? Result<void>{} : failed("read", errno);
    if (read == 0) return end(number);
    child.half.append(bytes, static_cast<std::size_t>(read));
    while (child.half.size() >= sizeof(Message)) {
      Message message;
      std::memcpy(&message, child.half.data(), sizeof message);
      child.half.erase(0, sizeof message);
      take(child, message);
    }
    return {};
  }

  void take(Child& child, const Message& message) {
    if (message.what == Message::What::Begins) {
      child.seed = message.seed;
      return;
    }
    child.seed.reset();
    ++totals_.seeds;
    totals_.calls += message.calls;
    totals_.answered += message.answered;
    totals_.cold += message.cold;
    totals_.faults += message.faults;
    totals_.turns += message.turns;
    totals_.virtual_seconds += to_seconds(Duration(message.virtual_ns));
    totals_.digest += message.digest * (2 * message.seed + 1);  // in whatever order they end
    if (message.what == Message::What::Failed) {
      fail(message.seed, message.words);
    } else {
      const bool first = held_++ == 0;
      totals_.fewest_calls = first ? message.calls : std::min(totals_.fewest_calls, message.calls);
      totals_.fewest_faults =
          first ? message.faults : std::min(totals_.fewest_faults, message.faults);
    }
    if (progress_) progress_(totals_.seeds);
  }

  void fail(std::uint64_t seed, const std::string& what) {
    ++totals_.failed;
    if (totals_.failures.size() < kFailuresKept) totals_.failures.push_back({seed, what});
  }

  // One that aborted is followed by another, from the seed after.
  Result<void> end(std::size_t number) {
    const Child child = {.pid = children_[number].pid, .pipe = {}, .seed = children_[number].seed};
    const std::uint64_t step = steps_[number];
    children_.erase(children_.begin() + static_cast<std::ptrdiff_t>(number));
    steps_.erase(steps_.begin() + static_cast<std::ptrdiff_t>(number));
    int status = 0;
    while (::waitpid(child.pid, &status, 0) < 0 && errno == EINTR) {}
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
    if (!child.seed)
      return Error{std::string(domain::error::kServerError), "a process ended by itself", ""};
    ++totals_.seeds;
    fail(*child.seed, WIFSIGNALED(status) ? fmt::format("ended by signal {}: {}", WTERMSIG(status),
                                                        ::strsignal(WTERMSIG(status)))
                                          : fmt::format("exit {}", WEXITSTATUS(status)));
    if (*child.seed + step > range_.last) return {};
    return start(*child.seed + step, step);
  }

  SeedRange range_;
  const std::function<void(std::uint64_t)>& progress_;
  std::vector<Child> children_;
  std::vector<std::uint64_t> steps_;
  SeedTotals totals_;
  std::uint64_t held_ = 0;
};

}  // namespace

Result<SeedRange> parse_seeds(const std::string& text) {
  const auto fault = [&text](const std::string& why) {
    return Error{std::string(domain::error::kInvalidValue),
                 fmt::format("'{}' {}; write 1..10000", text, why), "seeds"};
  };
  const auto number = [](std::string_view part) -> std::optional<std::uint64_t> {
    std::uint64_t value = 0;
    const auto [end, code] = std::from_chars(part.data(), part.data() + part.size(), value);
    if (code != std::errc{} || end != part.data() + part.size()) return std::nullopt;
    return value;
  };
  const auto dots = text.find("..");
  const std::string_view all(text);
  const auto first = number(all.substr(0, dots));
  const auto last = dots == std::string::npos ? first : number(all.substr(dots + 2));
  if (!first || !last) return fault("is no range of seeds");
  if (*last < *first) return fault("ends before it begins");
  if (*last > kLastSeed) return fault(fmt::format("goes beyond {}", kLastSeed));
  if (*last - *first >= kSeedsMax) return fault(fmt::format("has more than {} seeds", kSeedsMax));
  return SeedRange{*first, *last};
}

Result<SeedTotals> run_seeds(const SeedRange& range, int jobs,
                             const std::function<void(std::uint64_t)>& progress) {
  const std::uint64_t count = range.last - range.first + 1;
  const std::uint64_t step =
      std::min<std::uint64_t>(count, static_cast<std::uint64_t>(std::max(1, jobs)));
  Runner runner(range, progress);
  for (std::uint64_t i = 0; i < step; ++i)
    if (const Result<void> started = runner.start(range.first + i, step); !started)
      return started.error();
  return runner.run();
}

}  // namespace glowplug::app
