// The fake engine's other replies: embeddings, rerank, tokens, templates. Vectors and scores are
// functions of the text.
//
// Thread: pure.
#pragma once

#include <string>

#include <boost/json/object.hpp>

#include "base/result.h"

namespace glowplug::worker {

inline constexpr int kEmbeddingLength = 8;  // without "dimensions"

[[nodiscard]] Result<std::string> embeddings_body(const boost::json::object& request);
[[nodiscard]] Result<std::string> rerank_body(const boost::json::object& request);
[[nodiscard]] std::string tokenize_body(const boost::json::object& request);
[[nodiscard]] std::string detokenize_body(const boost::json::object& request);
[[nodiscard]] std::string apply_template_body(const boost::json::object& request);

}  // namespace glowplug::worker
