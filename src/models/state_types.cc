#include "models/state_types.h"

#include <algorithm>

#include <fmt/format.h>

#include "domain/limits.h"

namespace glowplug::models {
namespace {

bool is_printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

}  // namespace

std::optional<Refused> fault_of(const StateOwner& owner, const StateFit& fit) {
  const auto bad = [](std::string_view what) {
    return Refused{StateRefusal::BadArgument,
                   fmt::format("a prompt state's {} is empty, too long or not printable", what)};
  };
  if (owner.tenant.empty() || owner.tenant.size() > domain::kPromptOwnerBytesMax ||
      !is_printable(owner.tenant))
    return bad("tenant");
  if (owner.domain.size() > domain::kPromptOwnerBytesMax || !is_printable(owner.domain))
    return bad("cache domain");
  if (fit.model_sha256.empty() || fit.engine.empty()) return bad("model or engine");
  for (const std::string* text : {&fit.model_sha256, &fit.engine, &fit.settings, &fit.adapters})
    if (text->size() > domain::kPromptFitBytesMax || !is_printable(*text))
      return bad("model, engine, settings or adapters");
  return std::nullopt;
}

std::string_view to_string(StateRefusal reason) {
  switch (reason) {
    case StateRefusal::NotAState: return "not_a_state";
    case StateRefusal::ForeignVersion: return "foreign_version";
    case StateRefusal::WrongLength: return "wrong_length";
    case StateRefusal::HeaderDamaged: return "header_damaged";
    case StateRefusal::NotAuthentic: return "not_authentic";
    case StateRefusal::NoKey: return "no_key";
    case StateRefusal::OtherOwner: return "other_owner";
    case StateRefusal::OtherFit: return "other_fit";
    case StateRefusal::Unknown: return "unknown";
    case StateRefusal::TooLarge: return "too_large";
    case StateRefusal::NoRoom: return "no_room";
    case StateRefusal::Unreadable: return "unreadable";
    case StateRefusal::BadArgument: return "bad_argument";
  }
  return "unreadable";
}

bool is_damage(StateRefusal reason) {
  switch (reason) {
    case StateRefusal::NotAState:
    case StateRefusal::ForeignVersion:
    case StateRefusal::WrongLength:
    case StateRefusal::HeaderDamaged:
    case StateRefusal::NotAuthentic:
    case StateRefusal::NoKey: return true;
    case StateRefusal::OtherOwner:
    case StateRefusal::OtherFit:
    case StateRefusal::Unknown:
    case StateRefusal::TooLarge:
    case StateRefusal::NoRoom:
    case StateRefusal::Unreadable:
    case StateRefusal::BadArgument: return false;
  }
  return false;
}

}  // namespace glowplug::models
