// A page of a list as OpenAI has them: ?after, ?limit and ?order read from the query, and
// first_id, last_id and has_more around the data. Thread: pure functions.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

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

// The page of `all`, which is in the order that was asked for. `id_of` gives a row's id, `shown`
// its object.
template <typename Row, typename IdOf, typename Shown>
Reply page_reply(const Exchange& exchange, const std::vector<Row>& all, const PageWish& wish,
                 IdOf id_of, Shown shown) {
  auto from = all.begin();
  if (!wish.after.empty()) {
    from = std::find_if(all.begin(), all.end(),
                        [&](const Row& row) { return id_of(row) == wish.after; });
    if (from == all.end()) return exchange.error_reply(unknown_after(wish));
    ++from;
  }
  boost::json::array data;
  for (; from != all.end() && data.size() < wish.limit; ++from) data.emplace_back(shown(*from));
  return json_reply(200, page_text(std::move(data), from != all.end()));
}

}  // namespace glowplug::gateway
