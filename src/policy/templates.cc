#include "policy/templates.h"

#include <algorithm>

#include "policy/admission.h"

namespace glowplug::policy {
namespace {

constexpr std::uint64_t kMiB = 1024 * 1024;
// Measured: a forked replica of SmolLM2-135M holds 6 MB of its own after its first answers, of
// Gemma-3-270M 14 MB; both write their compute buffers in full only under long prompts.
constexpr std::uint64_t kForkedFixedBytes = 32 * kMiB;

constexpr std::uint64_t kChatTemplateTokens = 64;  // that it adds around a text; generous

}  // namespace

bool uses_template(const domain::Manifest& manifest) {
  if (manifest.template_use == domain::TemplateUse::Auto)
    return manifest.engine.kind == domain::EngineKind::Llama;
  return manifest.template_use == domain::TemplateUse::On;
}

bool same_template(const TemplateSource& a, const TemplateSource& b) {
  const domain::Manifest& m = a.manifest;
  const domain::Manifest& n = b.manifest;
  return a.facts.path == b.facts.path && a.facts.sha256 == b.facts.sha256 && m.engine == n.engine &&
         m.task == n.task && m.context == n.context && m.slots == n.slots &&
         m.chat_template == n.chat_template && m.tuning == n.tuning;
}

std::uint64_t estimate_template_bytes(const TemplateSource& source) {
  return estimate_bytes_with(0, source.manifest, source.facts);  // its context holds none
}

std::uint64_t estimate_forked_bytes(const TemplateSource& source) {
  const domain::Manifest& manifest = source.manifest;
  if (manifest.resources.memory_bytes > 0) {
    const std::uint64_t shared =
        std::min(source.facts.weight_bytes, manifest.resources.memory_bytes);
    return std::max(manifest.resources.memory_bytes - shared, kForkedFixedBytes);
  }
  return estimate_cache_bytes(manifest, source.facts) +
         estimate_step_bytes(manifest, source.facts) + kForkedFixedBytes;
}

std::uint64_t estimate_primed_bytes(const TemplateSource& source) {
  const auto context = static_cast<std::uint64_t>(source.manifest.context);
  std::uint64_t tokens = 0, longest = 0;
  for (const std::string& text : source.manifest.prime) {
    const std::uint64_t most = std::min(context, text.size() + kChatTemplateTokens);
    tokens += most;
    longest = std::max(longest, most);
  }
  tokens += longest * static_cast<std::uint64_t>(source.manifest.slots);
  return source.facts.kv_bytes_per_token * tokens + kForkedFixedBytes;
}

std::uint64_t estimate_learned_bytes(const TemplateSource& source, std::size_t tokens) {
  const auto copies = static_cast<std::uint64_t>(source.manifest.slots) + 1;
  return source.facts.kv_bytes_per_token * tokens * copies + kForkedFixedBytes;
}

}  // namespace glowplug::policy
