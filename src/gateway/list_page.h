// A page of a list as OpenAI has them: ?after, ?limit and ?order read from the query, and
// first_id, last_id and has_more around the data. Thread: pure functions.
#pragma once

#include <cstddef>
#include <string>

#include <boost/json/array.hpp>

#include "base/result.h"
#include "gateway/exchange.h"

namespace glowplug::gateway {

struct PageWish {
  std::string after;  // an id; empty = from the beginning
  std::size_t limit = 20;
  bool ascending = false;
};

struct PageBounds {
  std::size_t limit = 20;  // where none is asked for
  std::size_t limit_max = 100;
};
Result<PageWish> read_page(const Exchange& exchange, PageBounds bounds);

Error unknown_after(const PageWish& wish);

// Each of `data` has an id.
std::string page_text(boost::json::array data, bool has_more);

}  // namespace glowplug::gateway
