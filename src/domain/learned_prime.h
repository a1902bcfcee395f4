// A beginning that recent prompts of one cache domain share: computed once in a template of that
// domain, so that its replicas start with it.
//
// Thread: a value; the tokens are never changed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "domain/cache_domain.h"

namespace glowplug::domain {

using SharedTokens = std::shared_ptr<const std::vector<std::int32_t>>;  // owners: all who name them

struct LearnedPrime {
  CacheDomain domain;
  SharedTokens tokens;
  std::size_t prompts = 0;  // that begin with them

  bool is_same(const LearnedPrime& other) const {
    return domain == other.domain && *tokens == *other.tokens;
  }
};

}  // namespace glowplug::domain
