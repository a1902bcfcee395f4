#include "models/catalogue.h"

#include <algorithm>

#include <boost/json/value.hpp>
#include <boost/json/value_to.hpp>

#include "models/catalogue_text.h"
#include "models/yaml_document.h"

namespace glowplug::models {
namespace {

namespace json = boost::json;

std::string text_at(const json::object& entry, std::string_view key) {
  const json::value* value = entry.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->get_string().c_str())
                                                : std::string();
}

std::int64_t integer_at(const json::object& entry, std::string_view key) {
  const json::value* value = entry.if_contains(key);
  return value != nullptr && value->is_int64() ? value->get_int64() : 0;
}

CatalogueEntry entry_of(const json::object& object) {
  CatalogueEntry entry;
  entry.name = text_at(object, "name");
  entry.title = text_at(object, "title");
  entry.licence = text_at(object, "licence");
  entry.context = static_cast<int>(integer_at(object, "context"));
  entry.file = text_at(object, "file");
  entry.bytes = static_cast<std::uint64_t>(integer_at(object, "bytes"));
  const std::string digest = text_at(object, "digest");
  if (digest != "from hub") entry.sha256 = digest;
  const json::value* tested = object.if_contains("tested");
  entry.verified = tested != nullptr && tested->is_bool() && tested->get_bool();
  entry.chat_template = text_at(object, "chat_template");
  if (const json::value* sources = object.if_contains("sources");
      sources != nullptr && sources->is_array())
    for (const json::value& source : sources->get_array())
      if (source.is_string()) entry.sources.emplace_back(source.get_string().c_str());
  if (const json::value* variants = object.if_contains("variants");
      variants != nullptr && variants->is_object())
    for (const auto& [type, source] : variants->get_object())
      entry.variants.push_back(
          {std::string(type.data(), type.size()), std::string(source.as_string().c_str())});
  return entry;
}

// The text is part of this program, so a fault in it is ours and the unit test finds it before a
// user can.
std::vector<CatalogueEntry> parse_embedded() {
  const auto document = parse_document(kCatalogueText);
  GLOWPLUG_ASSERT(document.ok());
  std::vector<CatalogueEntry> entries;
  for (const json::value& value : document->as_object().at("models").as_array())
    entries.push_back(entry_of(value.as_object()));
  return entries;
}

}  // namespace

const std::vector<CatalogueEntry>& catalogue() {
  static const std::vector<CatalogueEntry> entries = parse_embedded();
  return entries;
}

const CatalogueEntry* find_in_catalogue(std::string_view name) {
  const auto& entries = catalogue();
  const auto found = std::find_if(entries.begin(), entries.end(),
                                  [&](const CatalogueEntry& entry) { return entry.name == name; });
  return found == entries.end() ? nullptr : &*found;
}

}  // namespace glowplug::models
