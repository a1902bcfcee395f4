#include "policy/traffic.h"

#include <algorithm>
#include <string>

#include "domain/errors.h"

namespace glowplug::policy {
namespace {

constexpr int kWhole = 100;

Error invalid(std::string param, std::string message) {
  return {std::string(domain::error::kInvalidValue), std::move(message), std::move(param)};
}

}  // namespace

int choose(std::span<Share> shares) {
  std::int64_t sum = 0;
  Share* best = nullptr;
  for (Share& share : shares) {
    sum += share.weight;
    share.gathered += share.weight;
    if (share.weight > 0 && (best == nullptr || share.gathered > best->gathered)) best = &share;
  }
  GLOWPLUG_ASSERT(best != nullptr);
  best->gathered -= sum;
  return best->revision;
}

std::optional<int> choose_stand_in(std::span<const Candidate> candidates) {
  const Candidate* best = nullptr;
  for (const Candidate& one : candidates)
    if (one.serves == Serves::Yes && (best == nullptr || one.weight > best->weight)) best = &one;
  if (best == nullptr) return std::nullopt;
  return best->revision;
}

Result<void> check_weights(std::span<const domain::StepWeight> weights) {
  std::int64_t sum = 0;
  std::string words;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const std::string name = domain::checkpoint_name(weights[i].step);
    const auto same = [step = weights[i].step](const auto& other) { return other.step == step; };
    if (std::any_of(weights.begin(), weights.begin() + static_cast<std::ptrdiff_t>(i), same))
      return invalid(name, name + " is named twice.");
    if (weights[i].weight < 0 || weights[i].weight > kWhole)
      return invalid(name, "The weight of " + name + " is " + std::to_string(weights[i].weight) +
                               "; it must be 0 to 100.");
    sum += weights[i].weight;
    words += (i == 0 ? "" : ", ") + name + ": " + std::to_string(weights[i].weight);
  }
  if (sum == kWhole) return {};
  return invalid("traffic", "The weights must sum to 100, and these sum to " + std::to_string(sum) +
                                (words.empty() ? "." : " (" + words + ")."));
}

}  // namespace glowplug::policy
