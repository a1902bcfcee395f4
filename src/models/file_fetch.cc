#include "models/file_fetch.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <optional>
#include <thread>

#include <fmt/format.h>
#include <sys/stat.h>

#include "base/unique_fd.h"
#include "domain/errors.h"

namespace glowplug::models {
namespace {

using namespace std::chrono_literals;
constexpr Duration kLookInterval = 50ms;

Error unreachable(const std::string& url, const std::string& why) {
  return {std::string(domain::error::kSourceUnreachable),
          fmt::format("{}: {}", without_secrets(url), why), "model"};
}

Error forbidden(const std::string& url, const std::string& why) {
  return {std::string(domain::error::kForbidden), fmt::format("{}: {}", without_secrets(url), why),
          "model"};
}

std::optional<std::uint64_t> number_of(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string header(const HttpReply& reply, const std::string& name) {
  const auto found = reply.headers.find(name);
  return found == reply.headers.end() ? std::string() : found->second;
}

// "bytes 100-199/200"
struct ContentRange {
  std::uint64_t first = 0;
  std::uint64_t total = 0;
};

std::optional<ContentRange> content_range(std::string_view text) {
  if (!text.starts_with("bytes ")) return std::nullopt;
  text.remove_prefix(6);
  const std::size_t dash = text.find('-');
  const std::size_t slash = text.find('/');
  if (dash == std::string_view::npos || slash == std::string_view::npos || slash < dash)
    return std::nullopt;
  const auto first = number_of(text.substr(0, dash));
  const auto total = number_of(text.substr(slash + 1));
  if (!first || !total) return std::nullopt;
  return ContentRange{*first, *total};
}

// What the partial bytes belong to: the address on the first line, the validator for If-Range on
// the second.
std::string read_validator(const FetchWish& wish) {
  std::ifstream file(wish.into + ".validator");
  std::string url;
  std::string validator;
  std::getline(file, url);
  std::getline(file, validator);
  return url == wish.url ? validator : std::string();
}

std::string validator_of(const HttpReply& reply) {
  const std::string etag = header(reply, "etag");
  if (!etag.empty() && !etag.starts_with("W/")) return etag;  // If-Range takes strong tags only
  return header(reply, "last-modified");
}

enum class Verdict { Done, Again, Final };

struct Attempt {
  Verdict verdict = Verdict::Again;
  Error error;
};

class Download final {
 public:
  Download(const FetchWish& wish, const FetchControl& control) : wish_(wish), control_(control) {}

  Attempt run() {
    file_.reset(::open(wish_.into.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!file_.valid()) return {Verdict::Final, storage("cannot open", errno)};
    struct stat status {};
    ::fstat(file_.get(), &status);
    held_ = static_cast<std::uint64_t>(status.st_size);
    const std::string validator = read_validator(wish_);
    if (validator.empty()) held_ = 0;
    HttpRequest request{HttpMethod::Get,
                        wish_.url,
                        {"Accept-Encoding: identity"},
                        wish_.bearer_token,
                        control_.addresses};
    if (held_ > 0) {
      request.headers.push_back(fmt::format("Range: bytes={}-", held_));
      request.headers.push_back("If-Range: " + validator);
    }
    const HttpReply reply =
        http_exchange(request, {[this](const HttpReply& head) { return begin(head); },
                                [this](const char* data, std::size_t n) { return write(data, n); },
                                [this] { return !control_.cancelled(); }});
    return judge(reply);
  }

 private:
  Error storage(const char* what, int number) const {
    const auto code = number == ENOSPC || number == EDQUOT ? domain::error::kDiskFull
                                                           : domain::error::kStorageFailed;
    return {std::string(code), fmt::format("{} {}: {}", what, wish_.into, std::strerror(number)),
            "model"};
  }

  bool begin(const HttpReply& head) {
    accepting_ = head.status == 200 || head.status == 206;
    if (!accepting_) return true;
    const auto range = content_range(header(head, "content-range"));
    if (head.status == 206 && (!range || range->first != held_)) {
      failure_ = {Verdict::Again,
                  unreachable(wish_.url, "the server answered another range than asked for")};
      restart();
      return false;
    }
    if (head.status == 200) restart();
    total_ = range && head.status == 206 ? range->total
                                         : number_of(header(head, "content-length")).value_or(0);
    if (wish_.bytes != 0 && total_ != 0 && total_ != wish_.bytes) {
      failure_ = {Verdict::Final,
                  {std::string(domain::error::kChecksumMismatch),
                   fmt::format("{} has {} bytes, but {} were promised", without_secrets(wish_.url),
                               total_, wish_.bytes),
                   "model"}};
      return false;
    }
    const std::string validator = validator_of(head);
    if (!validator.empty())
      std::ofstream(wish_.into + ".validator") << wish_.url << '\n' << validator << '\n';
    return enough_room();
  }

  bool enough_room() {
    if (total_ <= held_ || !control_.make_room) return true;
    auto made = control_.make_room(total_ - held_);
    if (!made) failure_ = {Verdict::Final, made.error()};
    return made.ok();
  }

  void restart() {
    held_ = 0;
    [[maybe_unused]] const int cut = ::ftruncate(file_.get(), 0);
    std::error_code ignored;
    std::filesystem::remove(wish_.into + ".validator", ignored);
  }

  bool write(const char* data, std::size_t bytes) {
    if (!accepting_) return true;  // the body of an error page
    if ((total_ != 0 && bytes > total_ - std::min(total_, held_)) ||
        (wish_.bytes != 0 && held_ + bytes > wish_.bytes)) {
      failure_ = {Verdict::Final,
                  unreachable(wish_.url, "the server sent more bytes than it announced")};
      restart();
      return false;
    }
    ::lseek(file_.get(), static_cast<off_t>(held_), SEEK_SET);
    if (auto written = write_all(file_.get(), data, bytes, wish_.into); !written) {
      failure_ = {Verdict::Final, written.error()};
      return false;
    }
    held_ += bytes;
    control_.progress(held_, total_);
    return true;
  }

  Attempt judge(const HttpReply& reply) {
    switch (reply.outcome) {
      case HttpOutcome::SinkFailed: return failure_;
      case HttpOutcome::Stopped: return {Verdict::Final, unreachable(wish_.url, kCancelledMessage)};
      case HttpOutcome::Refused: return {Verdict::Final, unreachable(wish_.url, reply.reason)};
      case HttpOutcome::Forbidden: return {Verdict::Final, forbidden(wish_.url, reply.reason)};
      case HttpOutcome::Unreachable: return {Verdict::Again, unreachable(wish_.url, reply.reason)};
      case HttpOutcome::Answered: break;
    }
    if (accepting_) {
      if (total_ == 0 || held_ == total_) return {Verdict::Done, {}};
      return {Verdict::Again,
              unreachable(wish_.url,
                          fmt::format("the answer ended after {} of {} bytes", held_, total_))};
    }
    if (reply.status ==
        416) {  // the file on the server is not longer than what is held: start over
      restart();
      return {Verdict::Again, unreachable(wish_.url, "HTTP 416")};
    }
    const bool passing = reply.status >= 500 || reply.status == 429 || reply.status == 408;
    std::string why = fmt::format("HTTP {}", reply.status);
    if (reply.status == 401 || reply.status == 403)
      why += wish_.bearer_token.empty() ? "; the model may need a token (HF_TOKEN)"
                                        : "; the token gives no access to it";
    return {passing ? Verdict::Again : Verdict::Final, unreachable(wish_.url, why)};
  }

  const FetchWish& wish_;
  const FetchControl& control_;
  UniqueFd file_;
  std::uint64_t held_ = 0;
  std::uint64_t total_ = 0;
  bool accepting_ = false;
  Attempt failure_;
};

}  // namespace

bool wait_unless_cancelled(Duration wait, const std::function<bool()>& cancelled) {
  const auto end = std::chrono::steady_clock::now() + wait;
  while (!cancelled()) {
    const auto now = std::chrono::steady_clock::now();
    if (now >= end) return true;
    const auto pause = std::min<Duration>(kLookInterval, end - now);
    std::this_thread::sleep_for(pause);  // tidy: because `cancelled` can only be polled
  }
  return false;
}

Result<void> write_all(int fd, const char* data, std::size_t bytes, const std::string& path) {
  while (bytes > 0) {
    const ssize_t n = ::write(fd, data, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const auto code = errno == ENOSPC || errno == EDQUOT ? domain::error::kDiskFull
                                                           : domain::error::kStorageFailed;
      return Error{std::string(code),
                   fmt::format("cannot write {}: {}", path, std::strerror(errno)), "model"};
    }
    data += n;
    bytes -= static_cast<std::size_t>(n);
  }
  return {};
}

void discard_fetched(const std::string& into) {
  std::error_code ignored;
  std::filesystem::remove(into, ignored);
  std::filesystem::remove(into + ".validator", ignored);
}

Result<void> fetch_file(const FetchWish& wish, const FetchControl& control) {
  Duration wait = control.retry_wait;
  Attempt last;
  for (int attempt = 0; attempt < kFetchTries; ++attempt) {
    if (attempt > 0 && !wait_unless_cancelled(wait, control.cancelled))
      return unreachable(wish.url, kCancelledMessage);
    if (attempt > 0) wait *= 2;
    last = Download(wish, control).run();
    if (last.verdict == Verdict::Done) return {};
    if (last.verdict == Verdict::Final) return last.error;
  }
  last.error.message += fmt::format(" (tried {} times)", kFetchTries);
  return last.error;
}

Result<std::string> fetch_text(const std::string& url, const std::string& accept,
                               std::size_t bytes_max, const FetchControl& control) {
  Duration wait = control.retry_wait;
  std::string why;
  for (int attempt = 0; attempt < kFetchTries; ++attempt) {
    if (attempt > 0 && !wait_unless_cancelled(wait, control.cancelled))
      return unreachable(url, kCancelledMessage);
    if (attempt > 0) wait *= 2;
    std::string text;
    const HttpReply reply =
        http_exchange({HttpMethod::Get, url, {"Accept: " + accept}, {}, control.addresses},
                      {{},
                       [&](const char* data, std::size_t n) {
                         text.append(data, n);
                         return text.size() <= bytes_max;
                       },
                       [&] { return !control.cancelled(); }});
    if (reply.outcome == HttpOutcome::Stopped) return unreachable(url, kCancelledMessage);
    if (reply.outcome == HttpOutcome::SinkFailed) return unreachable(url, "the answer is too long");
    if (reply.outcome == HttpOutcome::Refused) return unreachable(url, reply.reason);
    if (reply.outcome == HttpOutcome::Forbidden) return forbidden(url, reply.reason);
    if (reply.outcome == HttpOutcome::Answered && reply.status == 200) return text;
    why = reply.outcome == HttpOutcome::Answered ? fmt::format("HTTP {}", reply.status)
                                                 : reply.reason;
    if (reply.outcome == HttpOutcome::Answered && reply.status < 500) break;
  }
  return unreachable(url, why);
}

}  // namespace glowplug::models
