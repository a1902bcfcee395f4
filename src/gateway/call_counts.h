// The ledger of calls: what has arrived, what is open, what became of the rest and why.
//
//   arrived = open + all that ended          at each look
//
// A call is a request to a route that infers (routes.h). It has arrived once its header block is
// read, and has ended once it is settled what its caller gets: before a whole answer goes out,
// after a stream's last byte, or when the caller has left. Reasons are from closed lists, so that
// made-up names and an engine's own codes add no series.
//
// Thread: the server loop.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "gateway/call_log.h"
#include "gateway/metrics_text.h"

namespace glowplug::gateway {

// Beside the codes of api/errors.yaml.
namespace call_reason {
inline constexpr std::string_view kComplete = "complete";    // answered
inline constexpr std::string_view kDryRun = "dry_run";       // answered, and nothing was to be done
inline constexpr std::string_view kSending = "sending";      // left before all of it had come
inline constexpr std::string_view kWaiting = "waiting";      // left before a replica had it
inline constexpr std::string_view kAnswering = "answering";  // left afterwards
inline constexpr std::string_view kOther = "other";          // a code that is none of ours
}  // namespace call_reason

// The same word as a constant; kOther of what is neither a code of ours nor one of the above.
std::string_view known_reason(std::string_view reason);

class CallCounts final {
 public:
  void arrived();
  // `function`: empty where the call named none that exists.
  void ended(const std::string& function, CallFate fate, std::string_view reason);

  std::uint64_t arrived_count() const { return arrived_; }
  std::uint64_t open_count() const { return open_; }
  std::uint64_t ended_count(CallFate fate) const;
  // Forgets which functions the others were; their calls stay in the sums.
  void keep_only(const std::set<std::string_view>& functions);
  void write(MetricsText& text) const;

 private:
  using End = std::pair<CallFate, std::string_view>;
  std::uint64_t arrived_ = 0, open_ = 0;
  std::map<End, std::uint64_t> ended_;
  std::map<std::string, std::map<End, std::uint64_t>> unanswered_;  // by function
};

// A call from its arrival to its end, which is told once; what is told later does not count. One
// that goes without an end (something was thrown, the server stops) is broken, by a fault of ours.
class OpenCall final {
 public:
  explicit OpenCall(CallCounts& counts) : counts_(counts) { counts_.arrived(); }
  ~OpenCall();
  OpenCall(const OpenCall&) = delete;
  OpenCall& operator=(const OpenCall&) = delete;

  void granted() { granted_ = true; }  // a replica has it
  bool is_granted() const { return granted_; }
  void end(const std::string& function, CallFate fate, std::string_view reason);

 private:
  CallCounts& counts_;
  bool granted_ = false;
  bool ended_ = false;
};

}  // namespace glowplug::gateway
