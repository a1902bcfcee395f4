// Where this server may send what it sends by itself (webhooks): to the public internet by https,
// and to what its operator names.
//
// Whoever registers a webhook writes its address, so a name that leads to 10.0.0.5 or to the
// metadata service at 169.254.169.254 would make the server ask there with its own reach. The rule
// is asked when an address is registered, for what can be seen of it then, and again at every
// attempt for the address that is connected to.
//
// Thread: values; reading one from any.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace glowplug::models {

inline constexpr std::size_t kTargetUrlBytesMax = 2048;

struct Target {
  std::string scheme, host;  // in lower case; of an IPv6 address without its brackets
  std::string authority;     // scheme, host and port: whom it asks
};

class TargetRule final {
 public:
  // `allow` names hosts ("hooks.internal"), addresses and ranges ("10.1.0.0/16"); http:// is for
  // those alone, and only with `http_allowed`. Error: invalid_value.
  static Result<TargetRule> read(const std::vector<std::string>& allow, bool http_allowed);

  // Without asking for the name's addresses. Error: invalid_value, with `url` as its param.
  Result<Target> check(std::string_view url) const;
  // Of an address in network order: what it is where it may not be connected to, else nothing.
  std::string refuses(const Target& target, std::span<const std::uint8_t> address) const;

 private:
  struct Range {
    std::array<std::uint8_t, 16> network{};  // an IPv4 one as ::ffff:a.b.c.d
    int bits = 128;
  };
  static bool read_range(std::string_view text, Range& into);
  bool names(const Target& target, std::span<const std::uint8_t> address) const;

  std::vector<std::string> hosts_;
  std::vector<Range> ranges_;
  bool http_allowed_ = false;
};

}  // namespace glowplug::models
