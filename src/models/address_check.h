// Tells the addresses of the public internet from those inside somebody's network.
//
// A model's source is written by whoever deploys, so a name that leads to 10.0.0.5 or to the
// metadata service at 169.254.169.254 would make the server ask there with its own reach. What
// carries an IPv4 address inside an IPv6 one (mapped, NAT64, 6to4) is what that address is. Whether
// such an address may be used nevertheless is the caller's decision.
//
// Thread: pure functions.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace glowplug::models {

// An address in network order, 4 bytes or 16. Empty for a public one, else what it is ("loopback",
// "private", …) as the word before "address". What is neither 4 nor 16 bytes long is "unknown".
std::string_view not_public_because(std::span<const std::uint8_t> address);

}  // namespace glowplug::models
