#include "app/checkpoint_text.h"

#include <boost/json.hpp>
#include <fmt/format.h>

#include "domain/errors.h"
#include "models/manifest_reader.h"
#include "models/sha256.h"

namespace glowplug::app {
namespace {

namespace json = boost::json;

constexpr int kFormat = 1;

Error unreadable(const std::string& why) {
  return {std::string(domain::error::kStorageFailed), why, ""};
}

std::vector<control::PromptReference> references(const domain::Manifest& manifest) {
  std::vector<control::PromptReference> prompts;
  for (const std::string& text : manifest.prime)
    prompts.push_back({models::sha256_hex(text), text.size()});
  return prompts;
}

}  // namespace

std::string write_checkpoint(const domain::Manifest& pinned) {
  json::array prompts;
  for (const control::PromptReference& prompt : references(pinned))
    prompts.emplace_back(json::object{{"sha256", prompt.sha256}, {"bytes", prompt.bytes}});
  return json::serialize(
      json::object{{"format", kFormat},
                   {"model", {{"source", pinned.model}, {"sha256", pinned.model_sha256}}},
                   {"adapters", json::array()},
                   {"settings", json::parse(models::write_manifest(pinned))},
                   {"prompts", std::move(prompts)}});
}

Result<CheckpointContent> read_checkpoint(const std::string& text, const std::string& function) {
  boost::system::error_code code;
  const json::value value = json::parse(text, code);
  const json::object* object = code ? nullptr : value.if_object();
  const json::value* format = object ? object->if_contains("format") : nullptr;
  const json::value* settings = object ? object->if_contains("settings") : nullptr;
  if (format == nullptr || settings == nullptr) return unreadable("its content is not understood");
  if (*format != kFormat)
    return unreadable(fmt::format("its format is {}, and this program knows {}",
                                  json::serialize(*format), kFormat));
  Result<domain::Manifest> manifest = models::read_manifest(json::serialize(*settings), function);
  if (!manifest) return unreadable("its settings cannot be read: " + manifest.error().message);
  CheckpointContent content{.manifest = std::move(*manifest), .prompts = {}};
  content.prompts = references(content.manifest);
  return content;
}

}  // namespace glowplug::app
