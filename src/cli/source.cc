#include "cli/source.h"

#include <algorithm>

#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include "cli/exit_code.h"
#include "cli/json_fields.h"
#include "cli/words.h"

namespace glowplug::cli {
namespace {

constexpr std::size_t kNameLengthMax = 63;  // a DNS label

Error usage(std::string message) { return {std::string(kUsage), std::move(message), "source"}; }

// The last part of a path or address, without query, fragment and ".gguf".
std::string_view stem_of(SourceKind kind, std::string_view source) {
  if (kind == SourceKind::Url) source = source.substr(0, source.find_first_of("?#"));
  if (const auto cut = source.find_last_of("/:"); cut != std::string_view::npos)
    source.remove_prefix(cut + 1);
  if (lower(source).ends_with(".gguf")) source.remove_suffix(5);
  return source;
}

}  // namespace

Result<SourceKind> classify_source(std::string_view source) {
  if (source.empty())
    return usage(
        "the source is empty; give a catalogue name, FILE.gguf, hf:org/repo:file or https://…");
  const std::string lowered = lower(source);
  if (lowered.starts_with("https://")) return SourceKind::Url;
  if (lowered.starts_with("http://"))
    return usage(fmt::format("'{}' is not fetched over plain http; use https://", source));
  if (source.starts_with("hf:")) {
    const std::string_view rest = source.substr(3);
    const auto slash = rest.find('/');
    const auto colon = rest.find(':');
    if (slash == 0 || slash == std::string_view::npos || colon == std::string_view::npos ||
        colon < slash + 2 || colon + 1 == rest.size())
      return usage(fmt::format("'{}' is not of the form hf:org/repo:file.gguf", source));
    return SourceKind::HuggingFace;
  }
  if (lowered.ends_with(".gguf")) return SourceKind::GgufFile;
  if (lowered.ends_with(".yaml") || lowered.ends_with(".yml") || lowered.ends_with(".json"))
    return SourceKind::Manifest;
  const bool is_name = std::all_of(source.begin(), source.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  });
  if (!is_name)
    return usage(fmt::format(
        "'{}' is no source: give a catalogue name, FILE.gguf, hf:org/repo:file, https://… "
        "or a manifest (.yaml, .json)",
        source));
  return SourceKind::Catalogue;
}

std::string name_from_text(std::string_view text) {
  std::string out;
  for (const char c : lower(text)) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (plain)
      out += c;
    else if (!out.empty() && out.back() != '-')
      out += '-';
  }
  if (out.size() > kNameLengthMax) out.resize(kNameLengthMax);
  while (out.ends_with('-')) out.pop_back();
  return out;
}

std::string name_from_source(SourceKind kind, std::string_view source) {
  // A dot in a catalogue name ("qwen2.5-0.5b") is part of the model's name, not the beginning of a
  // suffix.
  return kind == SourceKind::Catalogue ? name_from_text(source)
                                       : name_from_text(stem_of(kind, source));
}

std::string renamed_manifest(std::string_view text, std::string_view name) {
  if (Result<boost::json::value> parsed = parse_json(text); parsed.ok() && parsed->is_object()) {
    parsed->as_object()["name"] = name;
    return boost::json::serialize(*parsed);
  }
  const bool first = text.starts_with("name:");
  const auto found = first ? 0 : text.find("\nname:");
  if (found == std::string_view::npos) return fmt::format("name: {}\n{}", name, text);
  const auto begin = first ? 0 : found + 1;
  const auto end = std::min(text.find('\n', begin), text.size());
  return fmt::format("{}name: {}{}", text.substr(0, begin), name, text.substr(end));
}

std::optional<std::string> name_from_manifest(std::string_view text) {
  if (const Result<boost::json::value> parsed = parse_json(text); parsed.ok()) {
    const std::string name = text_field(*parsed, "name");
    return name.empty() ? std::nullopt : std::optional(name);
  }
  while (!text.empty()) {
    const auto end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (!line.starts_with("name:")) continue;
    line = trim(line.substr(5));
    if (!line.empty() && (line.front() == '"' || line.front() == '\'')) {
      const auto close = line.find(line.front(), 1);
      line = close == std::string_view::npos ? std::string_view{} : line.substr(1, close - 1);
    } else if (const auto comment = line.find(" #"); comment != std::string_view::npos) {
      line = trim(line.substr(0, comment));
    }
    if (line.empty() || line.front() == '#') return std::nullopt;
    return std::string(line);
  }
  return std::nullopt;
}

}  // namespace glowplug::cli
