// The course of the latest inference calls: who answered each, from where it was started, what took
// how long. `glowplug why REQUEST` shows one.
//
//   Waiting ──▶ Running ──▶ Answered | Broken
//      └───────────┴──────▶ Refused | Cancelled
//
// A ring in order of arrival. A call is found by its request id or by the one that its caller gave;
// an attempt of a job, which is a call too, also by that job's id.
// what has left the ring is forgotten, also while it runs. Holds no prompt, no answer and no words
// of an error.
//
// Thread: the server loop. Reads no clock.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/time_types.h"
#include "domain/ids.h"
#include "domain/job.h"
#include "domain/limits.h"
#include "domain/phase.h"
#include "domain/tier.h"
#include "gateway/event_stream.h"

namespace glowplug::gateway {

// Refused: no replica took it, or one found fault with it. Broken: a replica took it and failed.
enum class CallFate { Waiting, Running, Answered, Refused, Broken, Cancelled };
std::string_view to_string(CallFate fate);

struct CallRecord {
  std::string request;         // req_…
  std::string client_request;  // the caller's X-Client-Request-Id, or its job's id; empty = none,
                               // or not to be found
  std::string function;
  std::optional<domain::JobId> job;  // that it was an attempt of; none = a client's own call
  std::string path;                  // asked for
  bool stream = false;
  WallTime at{};  // of its arrival, as `arrived`
  Time arrived{};
  CallFate fate = CallFate::Waiting;
  int status = 0;     // of HTTP; 0 = not yet
  std::string error;  // its code

  int tries = 0;  // replicas that were granted; what follows is of the last
  int revision = 0;
  domain::ProcessId replica{};
  bool cold = false;
  domain::Tier tier = domain::Tier::Replica;
  std::optional<std::uint64_t> bytes_read;  // from the disk for its start; none = not known
  std::optional<Time> granted, first_byte, ended;
  domain::PhaseTimes phases;
  Usage usage;
};

// What may be kept of a caller's id: printable ASCII without blanks, else nothing.
std::string usable_request_id(std::string_view text);

class CallLog final {
 public:
  explicit CallLog(std::size_t kept = domain::kCallsKept) : kept_(kept) {}
  CallLog(const CallLog&) = delete;
  CallLog& operator=(const CallLog&) = delete;

  void begin(CallRecord record);
  CallRecord* find(std::string_view request);  // null = forgotten, or never begun
  // By the server's id, else the latest that came with this one of a caller's. With a function: of
  // its calls only.
  const CallRecord* look_up(std::string_view id, std::string_view function = {}) const;
  std::size_t size() const { return records_.size(); }

 private:
  using Index = std::map<std::string, CallRecord*, std::less<>>;
  void forget_oldest();

  std::size_t kept_;
  std::deque<CallRecord> records_;  // the oldest first; grows and shrinks at its ends only
  Index by_request_;
  std::multimap<std::string, CallRecord*, std::less<>> by_client_;  // of one id, the oldest first
};

}  // namespace glowplug::gateway
