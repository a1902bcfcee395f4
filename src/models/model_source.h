// Where a model comes from, as people write it, classified and checked without touching network or
// disk.
//
//   smollm2                          a name of the catalogue
//   /models/my.gguf, ./my.gguf       a file on this machine
//   hf:org/repo:file.gguf[@rev]      a file of a repository on the hub
//   https://host/path/file.gguf      any address (http:// for this machine only)
// Only the catalogue's own entries may also use:
//   wheel:package==1.0:glob          a file inside a Python wheel
//   wheels:a==1,b==1:glob            parts inside several wheels, concatenated in that order
//
// Thread: pure functions, values.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace glowplug::models {

enum class SourceKind { Catalogue, File, Hub, Url, Wheels };

struct WheelName {
  std::string package;
  std::string version;
  friend bool operator==(const WheelName&, const WheelName&) = default;
};

struct ModelSource {
  SourceKind kind = SourceKind::Catalogue;
  std::string text;        // as written
  std::string name;        // Catalogue: the entry; File: the path; Url: the address
  std::string repository;  // Hub: org/repo
  std::string file;        // Hub: path in the repository; Wheels: glob of the member
  std::string revision;    // Hub
  std::vector<WheelName> wheels;
  friend bool operator==(const ModelSource&, const ModelSource&) = default;
};

// The error is model_rejected with param "model".
Result<ModelSource> parse_source(std::string_view text);

// As parse_source, and the wheel forms as well.
Result<ModelSource> parse_catalogue_source(std::string_view text);

// https, or http to 127.0.0.1, [::1] or localhost; no user name in it.
bool is_fetchable_url(std::string_view url);

}  // namespace glowplug::models
