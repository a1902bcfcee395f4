// The models that can be asked for by a short name, from api/catalogue.yaml, which is embedded at
// build time.
//
// An entry whose digest is known is checked against it; the others take the digest that the hub
// promises. Names are never removed, because stored manifests refer to them.
//
// Thread: read-only after the first call, which may come from any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace glowplug::models {

// The same model in a file of another type.
struct CatalogueVariant {
  std::string file_type;  // as llama.cpp names it, in lower case: "q4_0"
  std::string source;
};

struct CatalogueEntry {
  std::string name;
  std::string title;
  std::string licence;
  int context = 0;                   // tokens the model was trained for
  std::string file;                  // its name on the hub
  std::uint64_t bytes = 0;           // 0 = not verified by us
  std::string sha256;                // empty = the hub's word is taken
  bool verified = false;             // fetched, hashed and run by us
  std::vector<std::string> sources;  // tried in this order
  std::vector<CatalogueVariant> variants;
  std::string chat_template;  // name of a shipped template; empty = the file's own
};

const std::vector<CatalogueEntry>& catalogue();
const CatalogueEntry* find_in_catalogue(std::string_view name);

}  // namespace glowplug::models
