#include "models/address_check.h"

namespace glowplug::models {
namespace {

struct V4Range {
  std::uint8_t network[4];
  int bits;
  std::string_view kind;
};

// IANA's registry of special-purpose IPv4 addresses, with multicast and class E.
constexpr V4Range kV4Ranges[] = {
    {{0, 0, 0, 0}, 8, "unspecified"},
    {{10, 0, 0, 0}, 8, "private"},
    {{100, 64, 0, 0}, 10, "carrier-grade NAT"},
    {{127, 0, 0, 0}, 8, "loopback"},
    {{169, 254, 0, 0}, 16, "link-local"},
    {{172, 16, 0, 0}, 12, "private"},
    {{192, 0, 0, 0}, 24, "reserved"},
    {{192, 0, 2, 0}, 24, "documentation"},
    {{192, 88, 99, 0}, 24, "reserved"},
    {{192, 168, 0, 0}, 16, "private"},
    {{198, 18, 0, 0}, 15, "benchmarking"},
    {{198, 51, 100, 0}, 24, "documentation"},
    {{203, 0, 113, 0}, 24, "documentation"},
    {{224, 0, 0, 0}, 4, "multicast"},
    {{240, 0, 0, 0}, 4, "reserved"},
};

struct V6Range {
  std::uint64_t network;  // the upper half; no prefix here is longer
  int bits;
  std::string_view kind;
};

constexpr V6Range kV6Ranges[] = {
    {0xfc00'0000'0000'0000, 7, "unique-local"},   {0xfe80'0000'0000'0000, 10, "link-local"},
    {0xfec0'0000'0000'0000, 10, "site-local"},    {0xff00'0000'0000'0000, 8, "multicast"},
    {0x2001'0000'0000'0000, 23, "reserved"},  // Teredo, benchmarking, ORCHID
    {0x2001'0db8'0000'0000, 32, "documentation"}, {0x3fff'0000'0000'0000, 20, "documentation"},
};

std::string_view kind_of_v4(std::uint32_t address) {
  for (const V4Range& range : kV4Ranges) {
    std::uint32_t network = 0;
    for (const std::uint8_t part : range.network) network = network << 8 | part;
    if ((address ^ network) >> (32 - range.bits) == 0) return range.kind;
  }
  return {};
}

std::string_view kind_of_v6(std::uint64_t upper, std::uint64_t lower) {
  const bool mapped = upper == 0 && lower >> 32 == 0xffff;                // ::ffff:a.b.c.d
  const bool nat64 = upper == 0x0064'ff9b'0000'0000 && lower >> 32 == 0;  // 64:ff9b::a.b.c.d
  if (mapped || nat64) return kind_of_v4(static_cast<std::uint32_t>(lower));
  if (upper >> 48 == 0x2002)  // 2002:a.b:c.d::, 6to4
    return kind_of_v4(static_cast<std::uint32_t>(upper >> 16));
  if (upper == 0 && lower == 0) return "unspecified";
  if (upper == 0 && lower == 1) return "loopback";
  for (const V6Range& range : kV6Ranges)
    if ((upper ^ range.network) >> (64 - range.bits) == 0) return range.kind;
  return upper >> 61 == 1 ? std::string_view() : "reserved";  // all that is global lies in 2000::/3
}

}  // namespace

std::string_view not_public_because(std::span<const std::uint8_t> address) {
  std::uint64_t halves[2] = {0, 0};
  if (address.size() != 4 && address.size() != 16) return "unknown";
  for (std::size_t at = 0; at < address.size(); ++at)
    halves[at / 8] = halves[at / 8] << 8 | address[at];
  return address.size() == 4 ? kind_of_v4(static_cast<std::uint32_t>(halves[0]))
                             : kind_of_v6(halves[0], halves[1]);
}

}  // namespace glowplug::models
