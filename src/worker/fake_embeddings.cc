#include "worker/fake_embeddings.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <set>
#include <sstream>
#include <vector>

#include <boost/json.hpp>

#include "base/fnv.h"
#include "domain/errors.h"
#include "worker/fake_answer.h"

namespace glowplug::worker {
namespace {

namespace json = boost::json;

constexpr int kDimensionsMax = 4096;
constexpr std::uint64_t kVocabulary = 32'000;

Error invalid(std::string_view code, std::string message, std::string param) {
  return Error{std::string(code), std::move(message), std::move(param)};
}

std::string text_of(const json::value& value) {
  if (value.is_string()) return std::string(value.get_string());
  if (value.is_array()) {
    std::string words;
    for (const json::value& token : value.get_array()) words += json::serialize(token) + " ";
    return words;
  }
  if (value.is_object()) {
    if (const auto* text = value.get_object().if_contains("text")) return text_of(*text);
  }
  return json::serialize(value);
}

// A string, a list of strings, one input as token ids, or a list of those.
std::vector<std::string> inputs_of(const json::value& input) {
  if (!input.is_array() || (!input.get_array().empty() && input.get_array().front().is_number())) {
    return {text_of(input)};
  }
  std::vector<std::string> texts;
  for (const json::value& item : input.get_array()) texts.push_back(text_of(item));
  return texts;
}

std::vector<float> unit_vector(const std::string& text, int length) {
  std::vector<float> vector;
  std::uint64_t state = fnv(text) | 1;
  double squares = 0;
  for (int i = 0; i < length; ++i) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    const double value = static_cast<double>(state >> 40) / (1 << 24) - 0.5;
    squares += value * value;
    vector.push_back(static_cast<float>(value));
  }
  for (float& value : vector) value = static_cast<float>(value / std::sqrt(squares));
  return vector;
}

std::string base64(const std::vector<float>& vector) {
  std::vector<unsigned char> bytes;
  for (const float value : vector) {
    std::uint32_t bits;
    static_assert(sizeof bits == sizeof value);
    std::copy_n(reinterpret_cast<const unsigned char*>(&value), sizeof value,
                reinterpret_cast<unsigned char*>(&bits));
    for (int shift = 0; shift < 32; shift += 8)
      bytes.push_back(static_cast<unsigned char>(bits >> shift));
  }
  constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t left = bytes.size() - i;
    const unsigned group =
        bytes[i] << 16 | (left > 1 ? bytes[i + 1] << 8 : 0) | (left > 2 ? bytes[i + 2] : 0);
    text += kAlphabet[group >> 18];
    text += kAlphabet[group >> 12 & 63];
    text += left > 1 ? kAlphabet[group >> 6 & 63] : '=';
    text += left > 2 ? kAlphabet[group & 63] : '=';
  }
  return text;
}

std::set<std::string> words_of(const std::string& text) {
  std::istringstream stream(text);
  std::set<std::string> words;
  for (std::string word; stream >> word;) words.insert(word);
  return words;
}

// The share of the query's words that the document has, with a touch of the document's hash to
// break ties.
double relevance(const std::string& query, const std::string& document) {
  const auto wanted = words_of(query);
  const auto present = words_of(document);
  std::size_t shared = 0;
  for (const std::string& word : wanted) shared += present.count(word);
  const double share =
      wanted.empty() ? 0 : static_cast<double>(shared) / static_cast<double>(wanted.size());
  return share + static_cast<double>(fnv(document) % 1000) / 1e6;
}

std::string model_of(const json::object& request) {
  const auto* model = request.if_contains("model");
  return model && model->is_string() ? std::string(model->get_string()) : "fake";
}

}  // namespace

Result<std::string> embeddings_body(const json::object& request) {
  const auto* input = request.if_contains("input");
  if (!input) return invalid(domain::error::kMissingField, "input is required", "input");
  int length = kEmbeddingLength;
  if (const auto* dimensions = request.if_contains("dimensions");
      dimensions && !dimensions->is_null()) {
    boost::system::error_code failure;
    length = dimensions->to_number<int>(failure);
    if (failure || length < 1 || length > kDimensionsMax) {
      return invalid(
          domain::error::kInvalidValue,
          "dimensions must be a whole number from 1 to " + std::to_string(kDimensionsMax),
          "dimensions");
    }
  }
  const auto* format = request.if_contains("encoding_format");
  const bool encoded = format && format->is_string() && format->get_string() == "base64";
  json::array data;
  int words = 0;
  for (const std::string& text : inputs_of(*input)) {
    words += count_words(text);
    const std::vector<float> vector = unit_vector(text, length);
    json::object item{{"object", "embedding"}, {"index", data.size()}};
    if (encoded) {
      item["embedding"] = base64(vector);
    } else {
      item["embedding"] = json::value_from(vector);
    }
    data.push_back(std::move(item));
  }
  return json::serialize(
      json::object{{"object", "list"},
                   {"model", model_of(request)},
                   {"data", std::move(data)},
                   {"usage", {{"prompt_tokens", words}, {"total_tokens", words}}}});
}

Result<std::string> rerank_body(const json::object& request) {
  const auto* query = request.if_contains("query");
  const auto* documents = request.if_contains("documents");
  if (!query || !query->is_string())
    return invalid(domain::error::kMissingField, "query must be a string", "query");
  if (!documents || !documents->is_array()) {
    return invalid(domain::error::kMissingField, "documents must be a list", "documents");
  }
  const std::string question(query->get_string());
  std::vector<std::pair<double, std::size_t>> scores;
  int words = 0;
  for (const json::value& document : documents->get_array()) {
    const std::string text = text_of(document);
    words += count_words(question) + count_words(text);
    scores.emplace_back(relevance(question, text), scores.size());
  }
  std::stable_sort(scores.begin(), scores.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  if (const auto* top = request.if_contains("top_n");
      top && top->is_int64() && top->get_int64() >= 0) {
    scores.resize(std::min(scores.size(), static_cast<std::size_t>(top->get_int64())));
  }
  json::array results;
  for (const auto& [score, index] : scores) {
    results.push_back(json::object{{"index", index}, {"relevance_score", score}});
  }
  return json::serialize(
      json::object{{"object", "list"},
                   {"model", model_of(request)},
                   {"results", std::move(results)},
                   {"usage", {{"prompt_tokens", words}, {"total_tokens", words}}}});
}

std::string tokenize_body(const json::object& request) {
  json::array tokens;
  if (const auto* content = request.if_contains("content"); content && content->is_string()) {
    std::istringstream stream{std::string(content->get_string())};
    for (std::string word; stream >> word;) tokens.push_back(fnv(word) % kVocabulary);
  }
  return json::serialize(json::object{{"tokens", std::move(tokens)}});
}

std::string detokenize_body(const json::object& request) {
  std::string text;
  if (const auto* tokens = request.if_contains("tokens"); tokens && tokens->is_array()) {
    for (const json::value& token : tokens->get_array()) {
      text += (text.empty() ? "tok" : " tok") + json::serialize(token);
    }
  }
  return json::serialize(json::object{{"content", text}});
}

std::string apply_template_body(const json::object& request) {
  std::string prompt;
  if (const auto* messages = request.if_contains("messages"); messages && messages->is_array()) {
    for (const json::value& message : messages->get_array()) {
      if (!message.is_object()) continue;
      const auto* role = message.get_object().if_contains("role");
      const auto* content = message.get_object().if_contains("content");
      prompt +=
          "<" + (role ? text_of(*role) : "user") + ">" + (content ? text_of(*content) : "") + "\n";
    }
  }
  return json::serialize(json::object{{"prompt", prompt + "<assistant>"}});
}

}  // namespace glowplug::worker
