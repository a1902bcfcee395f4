#include "models/target_rule.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include <arpa/inet.h>
#include <fmt/format.h>

#include "domain/errors.h"
#include "models/address_check.h"
#include "models/curl_handles.h"

namespace glowplug::models {
namespace {

constexpr int kMappedBits = 96;  // before an IPv4 address in ::ffff:a.b.c.d
constexpr std::size_t kHostBytesMax = 253;

using Address = std::array<std::uint8_t, 16>;

std::optional<Address> mapped(std::span<const std::uint8_t> bytes) {
  Address address{};
  if (bytes.size() == 16) {
    std::copy(bytes.begin(), bytes.end(), address.begin());
    return address;
  }
  if (bytes.size() != 4) return std::nullopt;
  address[10] = address[11] = 0xff;
  std::copy(bytes.begin(), bytes.end(), address.begin() + 12);
  return address;
}

// Its bytes, 4 or 16; none where the text is no address.
std::vector<std::uint8_t> address_bytes(const std::string& text) {
  std::array<std::uint8_t, 16> bytes{};
  if (::inet_pton(AF_INET, text.c_str(), bytes.data()) == 1)
    return {bytes.begin(), bytes.begin() + 4};
  if (::inet_pton(AF_INET6, text.c_str(), bytes.data()) == 1) return {bytes.begin(), bytes.end()};
  return {};
}

std::string lower_host(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; });
  if (text.ends_with('.')) text.pop_back();
  if (text.size() > 1 && text.front() == '[' && text.back() == ']')
    text = text.substr(1, text.size() - 2);
  return text;
}

bool is_host_name(std::string_view text) {
  return !text.empty() && text.size() <= kHostBytesMax && text.front() != '.' &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
                  c == '_';
         });
}

Error bad_url(std::string what) {
  return Error{std::string(domain::error::kInvalidValue), std::move(what), "url"};
}

bool is_plain(char c) { return static_cast<unsigned char>(c) > 0x20 && c != 0x7f && c != '\\'; }

}  // namespace

bool TargetRule::read_range(std::string_view text, Range& into) {
  const std::string_view before = text.substr(0, text.find('/'));
  const std::vector<std::uint8_t> bytes = address_bytes(std::string(before));
  const auto network = mapped(bytes);
  if (!network) return false;
  into.network = *network;
  if (before.size() == text.size()) return true;
  const std::string_view behind = text.substr(before.size() + 1);
  int bits = -1;
  const auto [end, error] = std::from_chars(behind.data(), behind.data() + behind.size(), bits);
  const int most = static_cast<int>(bytes.size()) * 8;
  if (error != std::errc() || end != behind.data() + behind.size() || bits < 0 || bits > most)
    return false;
  into.bits = most == 32 ? kMappedBits + bits : bits;
  return true;
}

Result<TargetRule> TargetRule::read(const std::vector<std::string>& allow, bool http_allowed) {
  TargetRule rule;
  rule.http_allowed_ = http_allowed;
  for (const std::string& one : allow) {
    const std::string text = lower_host(one);
    Range range;
    if (read_range(text, range)) {
      rule.ranges_.push_back(range);
    } else if (is_host_name(text)) {
      rule.hosts_.push_back(text);
    } else {
      return Error{std::string(domain::error::kInvalidValue),
                   fmt::format("\"{}\" is neither a host (hooks.internal), an address nor a range "
                               "(10.1.0.0/16)",
                               one),
                   "allow"};
    }
  }
  return rule;
}

bool TargetRule::names(const Target& target, std::span<const std::uint8_t> address) const {
  if (std::find(hosts_.begin(), hosts_.end(), target.host) != hosts_.end()) return true;
  const auto whole = mapped(address);
  if (!whole) return false;
  return std::any_of(ranges_.begin(), ranges_.end(), [&whole](const Range& range) {
    for (int bit = 0; bit < range.bits; bit += 8) {
      const auto at = static_cast<std::size_t>(bit / 8);
      const int beyond = std::max(0, 8 - (range.bits - bit));
      if ((((*whole)[at] ^ range.network[at]) & 0xff) >> beyond != 0) return false;
    }
    return true;
  });
}

std::string TargetRule::refuses(const Target& target, std::span<const std::uint8_t> address) const {
  if (names(target, address) && (target.scheme == "https" || http_allowed_)) return {};
  if (target.scheme != "https") return "https-only";
  return std::string(not_public_because(address));
}

Result<Target> TargetRule::check(std::string_view text) const {
  if (text.size() > kTargetUrlBytesMax)
    return bad_url(fmt::format("`url` is longer than {} bytes.", kTargetUrlBytesMax));
  if (!std::all_of(text.begin(), text.end(), is_plain))
    return bad_url("`url` holds a blank, a control character or a backslash.");
  const CurlUrl url(curl_url());
  if (curl_url_set(url.get(), CURLUPART_URL, std::string(text).c_str(), 0) != CURLUE_OK)
    return bad_url("`url` is no address; write it as https://example.com/hook.");
  Target target{.scheme = url_part(url, CURLUPART_SCHEME),
                .host = lower_host(url_part(url, CURLUPART_HOST)),
                .authority = {}};
  target.authority = fmt::format("{}://{}:{}", target.scheme, target.host,
                                 url_part(url, CURLUPART_PORT, CURLU_DEFAULT_PORT));
  const std::vector<std::uint8_t> literal = address_bytes(target.host);
  const bool is_name = is_host_name(target.host) && target.host.find("..") == std::string::npos;
  if (text.find(":///") != std::string_view::npos || (literal.empty() && !is_name) ||
      url_part(url, CURLUPART_PORT) == "0")
    return bad_url(
        "`url` names no host that can be asked; write it as https://example.com/hook, "
        "other letters than ASCII's as xn--….");
  if (!url_part(url, CURLUPART_USER).empty() || !url_part(url, CURLUPART_PASSWORD).empty())
    return bad_url("`url` holds a user name; a webhook is known by its signature instead.");
  if (target.scheme != "https" && !(target.scheme == "http" && http_allowed_))
    return bad_url(fmt::format(
        "`url` begins with {}://; webhooks go by https. The server's settings may allow http to "
        "hosts that they name (webhooks: {{allow: […], allow_http: true}}).",
        target.scheme));
  if (literal.empty()) return target;  // a name: asked for when it is connected to
  const std::string kind = refuses(target, literal);
  if (!kind.empty())
    return bad_url(fmt::format(
        "`url` leads to the {} address {}, and webhooks go to public addresses only; the server's "
        "settings may allow it (webhooks: {{allow: [{}]}}).",
        kind, target.host, target.host));
  return target;
}

}  // namespace glowplug::models
