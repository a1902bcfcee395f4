// A call as a trace or a generator tells it, and where such calls come from.
//
// Thread: values; a source belongs to one owner.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time_types.h"

namespace glowplug::simulate {

struct Request {
  Duration at{};               // since the beginning of the trace
  std::uint32_t function = 0;  // its place in RequestSource::functions()
  std::uint32_t tenant = 0;    // whose it is; 0 = a caller without a key
  int prompt_tokens = 1;
  int output_tokens = 1;
  friend bool operator==(const Request&, const Request&) = default;
};

// What a generator or a trace may ask for at most.
inline constexpr int kTokensMax = 10'000'000;
inline constexpr Duration kTraceMax = std::chrono::hours(24 * 366);

class RequestSource {
 public:
  virtual ~RequestSource() = default;
  // The next one, never earlier than the one before; nothing at the end. An error ends it too.
  virtual Result<std::optional<Request>> next() = 0;
  // Their names so far; a trace that is read gets to know more of them.
  virtual const std::vector<std::string>& functions() const = 0;
  virtual bool knows_all() const = 0;  // whether no other name can come
};

}  // namespace glowplug::simulate
