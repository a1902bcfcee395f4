#include "gateway/list_page.h"

#include <charconv>
#include <utility>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include "gateway/request_fields.h"

namespace glowplug::gateway {

namespace json = boost::json;

Result<PageWish> read_page(const Exchange& exchange, PageBounds bounds) {
  PageWish wish{.after = std::string(exchange.query_value("after").substr(0, 80)),
                .limit = bounds.limit};
  if (const std::string_view text = exchange.query_value("limit"); !text.empty()) {
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), wish.limit);
    if (ec != std::errc() || end != text.data() + text.size() || wish.limit == 0 ||
        wish.limit > bounds.limit_max)
      return invalid("limit",
                     fmt::format("must be a whole number from 1 to {}.", bounds.limit_max));
  }
  const std::string_view order = exchange.query_value("order");
  if (!order.empty() && order != "asc" && order != "desc")
    return invalid("order", "must be asc or desc.");
  wish.ascending = order == "asc";
  return wish;
}

Error unknown_after(const PageWish& wish) {
  return invalid("after", fmt::format("names `{}`, which is not in the list.", wish.after));
}

std::string page_text(json::array data, bool has_more) {
  json::object page{{"object", "list"}, {"has_more", has_more}};
  const auto id_of = [](const json::value& one) { return one.as_object().at("id"); };
  page["first_id"] = data.empty() ? json::value(nullptr) : id_of(data.front());
  page["last_id"] = data.empty() ? json::value(nullptr) : id_of(data.back());
  page["data"] = std::move(data);
  return json::serialize(page);
}

}  // namespace glowplug::gateway
