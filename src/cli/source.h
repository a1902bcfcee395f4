// What `glowplug deploy` was given: which kind of source it is, and the name the function gets from
// it.
//
// Classifies by the text alone; whether a file exists is read_source's question (deploy.cc).
//
// Thread: pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace glowplug::cli {

enum class SourceKind { Catalogue, GgufFile, HuggingFace, Url, Manifest };

Result<SourceKind> classify_source(std::string_view source);

// Lower case; every run outside [a-z0-9] becomes one '-', none at the ends; at most 63 characters.
// May be empty.
std::string name_from_text(std::string_view text);

// The function's name for a source that is no manifest: a catalogue name itself, else the file's
// stem.
std::string name_from_source(SourceKind kind, std::string_view source);

// The top-level `name` of a manifest in YAML or JSON, found by a simple scan: the server reads it
// properly.
std::optional<std::string> name_from_manifest(std::string_view text);

// The manifest under another name, for --name.
std::string renamed_manifest(std::string_view text, std::string_view name);

}  // namespace glowplug::cli
