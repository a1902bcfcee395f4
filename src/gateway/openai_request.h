// Inference requests: what they may say, with which ranges, and what of them a replica gets to see.
//
// Only the fields of an allow-list are passed on, so an engine's private switches (slots, adapters,
// context shifting) cannot be reached from outside. Answers are capped by the manifest here.
//
// Thread: pure functions.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include <boost/json/object.hpp>

#include "base/result.h"
#include "base/time_types.h"
#include "domain/manifest.h"

namespace glowplug::gateway {

enum class Surface {
  Chat,
  Completions,
  Embeddings,
  Rerank,
  Responses,
  InputTokens,
  Messages,
  CountTokens
};

struct RequestShape {
  bool stream = false;
  bool include_usage = false;
  bool uses_tools = false;
  bool background = false;  // of a response: it is a job
  int choices = 1;
  std::optional<Duration> keep_alive;
  std::string cache_salt;  // the caller's own cache domain within its tenant's; empty = none
};

// The path at a replica, which is the path here.
std::string_view path_of(Surface surface);

// The function that `model` names; missing or of a wrong type is an error of that param.
Result<std::string> read_model(const boost::json::object& request);

Result<RequestShape> check_request(Surface surface, const boost::json::object& request,
                                   const domain::Manifest& manifest);

// The body for the replica.
std::string forward_body(Surface surface, const boost::json::object& request,
                         const domain::Manifest& manifest, const RequestShape& shape);

}  // namespace glowplug::gateway
