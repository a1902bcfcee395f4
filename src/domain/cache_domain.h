// Whose prompt state it is: the state of one cache domain is never given to another's call, and
// nothing of it can be seen there, not even by a count of cached tokens.
//
// A replica serves one cache domain in its whole life. Functions with `share: function`, and those
// whose engine keeps no prompt state of ours, have one domain for everybody.
//
// Thread: a value.
#pragma once

#include <compare>
#include <string>

namespace glowplug::domain {

struct CacheDomain {
  std::string tenant;  // whoever pays; all callers without a key are one
  std::string salt;    // the caller's own narrower part of it; empty = none
  friend auto operator<=>(const CacheDomain&, const CacheDomain&) = default;
};

}  // namespace glowplug::domain
