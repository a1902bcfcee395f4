#include "models/gguf_reader.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "domain/errors.h"
#include "models/gguf_header.h"

namespace glowplug::models {
namespace {

constexpr std::int64_t kBlocksMax = 1024;
constexpr std::int64_t kContextTrainedMax = std::int64_t{1} << 25;
constexpr std::int64_t kLengthMax = std::int64_t{1} << 20;  // of embeddings and head vectors
constexpr std::size_t kTemplateBytesMax = 256 * 1024;
constexpr std::uint64_t kCacheElementBytes = 2;  // K and V are kept as f16

// The metadata by key, with the checks that every reader of it needs.
class Metadata final {
 public:
  explicit Metadata(const GgufHeader& header) : header_(header) {}

  const GgufValue* find(const std::string& key) const {
    const auto found = header_.values.find(key);
    return found == header_.values.end() ? nullptr : &found->second;
  }

  std::string text(const std::string& key) const {
    const GgufValue* value = find(key);
    if (value == nullptr) return {};
    const auto* text = std::get_if<std::string>(value);
    if (text == nullptr) throw GgufFault(fmt::format("the key {} must be a string", key));
    return *text;
  }

  std::int64_t integer(const std::string& key, std::int64_t low, std::int64_t high) const {
    const GgufValue* value = find(key);
    if (value == nullptr) throw GgufFault(fmt::format("the key {} is missing", key));
    return checked(key, *value, low, high);
  }

  std::int64_t integer_or(const std::string& key, std::int64_t low, std::int64_t high,
                          std::int64_t fallback) const {
    return find(key) == nullptr ? fallback : integer(key, low, high);
  }

  // One value per layer: the key holds either an array of that length or one number for all.
  std::vector<std::int64_t> per_layer(const std::string& key, std::int64_t layers,
                                      std::int64_t high, std::int64_t low_for_all = 1) const {
    const GgufValue* value = find(key);
    if (value == nullptr) throw GgufFault(fmt::format("the key {} is missing", key));
    const auto* array = std::get_if<GgufArray>(value);
    if (array == nullptr)
      return std::vector<std::int64_t>(static_cast<std::size_t>(layers),
                                       checked(key, *value, low_for_all, high));
    // Layers without attention have 0 heads, but some layer must have them.
    if (array->integers.size() < static_cast<std::size_t>(layers))
      throw GgufFault(
          fmt::format("the key {} has {} values for {} layers", key, array->count, layers));
    std::vector<std::int64_t> values(array->integers.begin(), array->integers.begin() + layers);
    for (const std::int64_t each : values)
      if (each < 0 || each > high)
        throw GgufFault(fmt::format("the key {} holds {}; 0 to {} are accepted", key, each, high));
    if (*std::max_element(values.begin(), values.end()) < 1)
      throw GgufFault(fmt::format("the key {} is 0 for every layer", key));
    return values;
  }

 private:
  static std::int64_t checked(const std::string& key, const GgufValue& value, std::int64_t low,
                              std::int64_t high) {
    std::int64_t number = -1;
    if (const auto* whole = std::get_if<std::int64_t>(&value)) {
      number = *whole;
    } else if (const auto* large = std::get_if<std::uint64_t>(&value)) {
      number = *large > static_cast<std::uint64_t>(INT64_MAX) ? INT64_MAX
                                                              : static_cast<std::int64_t>(*large);
    } else {
      throw GgufFault(fmt::format("the key {} must be a whole number", key));
    }
    if (number < low || number > high)
      throw GgufFault(
          fmt::format("the key {} is {}; {} to {} are accepted", key, number, low, high));
    return number;
  }

  const GgufHeader& header_;
};

void check_kind(const GgufHeader& header, const Metadata& metadata,
                const std::string& architecture) {
  if (architecture.empty()) throw GgufFault("the key general.architecture is missing");
  if (architecture == "clip")
    throw GgufFault("it is a vision projector (mmproj), not a language model");
  const std::string type = metadata.text("general.type");
  if (type == "adapter") throw GgufFault("it is a LoRA adapter, not a whole model");
  if (metadata.integer_or("split.count", 0, 65'535, 0) > 1)
    throw GgufFault(
        "it is one part of a split model (split.count is over 1); merge the parts into one file "
        "first");
  if (header.tensors.empty())
    throw GgufFault("it holds a vocabulary only and no tensors, so it cannot answer");
}

std::uint64_t vocabulary_of(const GgufHeader& header, const Metadata& metadata,
                            std::int64_t embedding) {
  const GgufValue* tokens = metadata.find("tokenizer.ggml.tokens");
  const auto* list = tokens == nullptr ? nullptr : std::get_if<GgufArray>(tokens);
  if (list == nullptr || list->count == 0)
    throw GgufFault("the key tokenizer.ggml.tokens is missing or empty");
  for (const char* key : {"tokenizer.ggml.scores", "tokenizer.ggml.token_type"}) {
    const GgufValue* value = metadata.find(key);
    const auto* other = value == nullptr ? nullptr : std::get_if<GgufArray>(value);
    if (value != nullptr && (other == nullptr || other->count != list->count))
      throw GgufFault(
          fmt::format("the key {} does not have one value per token ({})", key, list->count));
  }
  for (const char* key : {"tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id"})
    if (const auto* id = metadata.find(key); id != nullptr) {
      const bool none =
          std::get_if<std::int64_t>(id) != nullptr &&
          (std::get<std::int64_t>(*id) == -1 || std::get<std::int64_t>(*id) == 0xffffffffLL);
      if (!none) (void)metadata.integer(key, 0, static_cast<std::int64_t>(list->count) - 1);
    }
  const auto table = header.tensors.find("token_embd.weight");
  if (table == header.tensors.end()) throw GgufFault("the tensor token_embd.weight is missing");
  const auto& dimensions = table->second.dimensions;
  if (dimensions.size() < 2 || dimensions[0] != static_cast<std::uint64_t>(embedding) ||
      dimensions[1] != list->count)
    throw GgufFault(
        fmt::format("the tensor token_embd.weight must be {} by {} to match embedding_length and "
                    "the token list",
                    embedding, list->count));
  return list->count;
}

// Tensors are named blk.<layer>.<part>; encoder-decoder models put "enc." or "dec." in front.
void check_layers(const GgufHeader& header, std::int64_t layers, std::int64_t may_lack) {
  std::set<std::int64_t> present;
  for (const auto& [name, tensor] : header.tensors) {
    std::string_view rest = name;
    if (rest.starts_with("enc.") || rest.starts_with("dec.")) rest.remove_prefix(4);
    if (!rest.starts_with("blk.")) continue;
    rest.remove_prefix(4);
    std::int64_t layer = 0;
    std::size_t digits = 0;
    while (digits < rest.size() && digits < 6 && rest[digits] >= '0' && rest[digits] <= '9')
      layer = layer * 10 + (rest[digits++] - '0');
    if (digits > 0 && layer < layers) present.insert(layer);
  }
  for (std::int64_t layer = 0; layer < layers - may_lack; ++layer)
    if (!present.contains(layer))
      throw GgufFault(fmt::format("the tensors of layer {} (blk.{}.*) are missing", layer, layer));
}

std::uint64_t cache_bytes_per_token(const Metadata& metadata, const std::string& prefix,
                                    std::int64_t layers, std::int64_t embedding) {
  // A model of states alone, Mamba or RWKV, says that it has 0 heads.
  const bool has_states = metadata.find(prefix + "ssm.state_size") != nullptr ||
                          metadata.find(prefix + "wkv.head_size") != nullptr;
  const std::int64_t heads_min = has_states ? 0 : 1;
  const auto heads = metadata.per_layer(prefix + "attention.head_count", layers, 65'536, heads_min);
  const std::string kv_key = prefix + "attention.head_count_kv";
  const auto kv_heads = metadata.find(kv_key) == nullptr
                            ? heads
                            : metadata.per_layer(kv_key, layers, 65'536, heads_min);
  const std::int64_t widest = *std::max_element(heads.begin(), heads.end());
  if (widest == 0) return 0;
  const std::int64_t head = std::max<std::int64_t>(1, embedding / widest);
  const auto key = metadata.integer_or(prefix + "attention.key_length", 1, kLengthMax, head);
  const auto value = metadata.integer_or(prefix + "attention.value_length", 1, kLengthMax, head);
  std::uint64_t all_heads = 0;
  for (const std::int64_t each : kv_heads) all_heads += static_cast<std::uint64_t>(each);
  return all_heads * static_cast<std::uint64_t>(key + value) * kCacheElementBytes;
}

domain::ModelFacts facts_of(const GgufHeader& header) {
  const Metadata metadata(header);
  domain::ModelFacts facts;
  facts.architecture = metadata.text("general.architecture");
  check_kind(header, metadata, facts.architecture);
  const std::string prefix = facts.architecture + ".";
  const std::int64_t layers = metadata.integer(prefix + "block_count", 1, kBlocksMax);
  const std::int64_t embedding = metadata.integer(prefix + "embedding_length", 1, kLengthMax);
  facts.embedding_length = static_cast<int>(embedding);
  facts.context_trained =
      static_cast<int>(metadata.integer(prefix + "context_length", 1, kContextTrainedMax));
  facts.kv_bytes_per_token = cache_bytes_per_token(metadata, prefix, layers, embedding);
  facts.vocabulary = vocabulary_of(header, metadata, embedding);
  check_layers(header, layers, metadata.integer_or(prefix + "nextn_predict_layers", 0, layers, 0));
  facts.chat_template = metadata.text("tokenizer.chat_template");
  if (facts.chat_template.size() > kTemplateBytesMax)
    throw GgufFault(
        fmt::format("the key tokenizer.chat_template has {} bytes; at most {} are accepted",
                    facts.chat_template.size(), kTemplateBytesMax));
  facts.file_bytes = header.file_bytes;
  facts.weight_bytes = header.weight_bytes;
  return facts;
}

}  // namespace

Result<domain::ModelFacts> read_gguf(const std::string& path) {
  try {
    domain::ModelFacts facts = facts_of(parse_gguf_header(path));
    facts.path = path;
    return facts;
  } catch (const GgufFault& fault) {
    return Error{std::string(domain::error::kModelRejected),
                 fmt::format("{} cannot be used: {}", path, fault.what()), "model"};
  }
}

}  // namespace glowplug::models
