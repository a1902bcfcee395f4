// A function's manifest as text (YAML or JSON), and back.
//
// Reading is strict and complete: every fault is found and listed in one answer, each with its
// path, and an unknown key names the nearest known one. Nothing is looked up outside: whether a
// model can be fetched is models/model_store's question. api/manifest.schema.json publishes the
// same rules; a test keeps both equal.
//
// Thread: pure functions.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "domain/manifest.h"

namespace glowplug::models {

// `expected_name` is the name from the URL: taken when the manifest has none, a fault when it has
// another. The error is manifest_invalid; its message joins "path: fault" by "; ".
Result<domain::Manifest> read_manifest(std::string_view text, std::string_view expected_name);

// JSON in the published form; read_manifest(write_manifest(m), m.name) == m for every manifest that
// was read.
std::string write_manifest(const domain::Manifest& manifest);

// Every key the reader knows, by the path of its object ("" is the manifest itself).
const std::map<std::string, std::vector<std::string_view>>& manifest_keys();

}  // namespace glowplug::models
