// POSTs to addresses that callers have named: guarded, bounded, many at once on one thread.
//
// Each goes to an address that the TargetRule allows at that moment, without proxies, redirects,
// cookies or a connection that is used again. The answer is its status; of a body that is longer
// than `reply_bytes_max` the rest is not read. libcurl is known to the .cc alone.
//
// Thread: post() from any. Transfers run on this object's own thread, so that one that hangs holds
// a socket and no thread; `done` where `deliver` takes it. What is under way when this object goes
// is given up, and its `done` never called.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/time_types.h"
#include "models/target_rule.h"

namespace glowplug::models {

struct PostRequest {
  std::string url;
  std::vector<std::string> headers;  // "Name: value"
  std::string body;
};

struct PostReply {
  int status = 0;  // 0: none came
  std::optional<Duration> retry_after;
  std::string failure;  // why none came, a sentence
};

// The seam: webhooks are sent through it.
class HttpPost {
 public:
  virtual ~HttpPost() = default;
  virtual void post(PostRequest request, std::function<void(PostReply)> done) = 0;
};

class CurlHttpPost final : public HttpPost {
 public:
  struct Options {
    TargetRule rule;
    Duration timeout = std::chrono::seconds(15);  // of one exchange, from the name to the last byte
    std::size_t reply_bytes_max = 64 * 1024;
    std::vector<std::string> resolve;  // "host:port:address", in place of asking a name server
    std::function<void(std::function<void()>)> deliver;
  };
  explicit CurlHttpPost(Options options);
  ~CurlHttpPost() override;

  void post(PostRequest request, std::function<void(PostReply)> done) override;
  std::uint64_t bytes_read() const;  // of bodies, of all answers so far

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace glowplug::models
