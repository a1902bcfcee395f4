#include "gateway/prompt_links.h"

#include <random>
#include <string_view>

namespace glowplug::gateway {
namespace {

namespace json = boost::json;

constexpr std::size_t kTextBlock = 1024;

std::uint64_t hash_key() {
  static const std::uint64_t key = [] {
    std::random_device random;
    return std::uint64_t{random()} << 32 | random();
  }();
  return key;
}

class Chain final {
 public:
  void add(std::string_view text) {
    for (const char c : text) hash_ = (hash_ ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    hash_ ^= hash_ >> 29;
    bytes_ += text.size();
  }
  void link() {
    if (links_.size() < domain::kPromptLinksMax) links_.push_back({hash_, bytes_});
  }
  bool is_full() const { return links_.size() == domain::kPromptLinksMax; }
  domain::PromptLinks take() { return std::move(links_); }

 private:
  std::uint64_t hash_ = 0xcbf29ce484222325 ^ hash_key();
  std::uint64_t bytes_ = 0;
  domain::PromptLinks links_;
};

void add_messages(Chain& chain, const json::array& messages) {
  for (const json::value& message : messages) {
    if (chain.is_full()) return;
    chain.add(json::serialize(message));
    chain.link();
  }
}

void add_text(Chain& chain, std::string_view text) {
  while (!text.empty() && !chain.is_full()) {
    chain.add(text.substr(0, kTextBlock));
    chain.link();
    text.remove_prefix(std::min(text.size(), kTextBlock));
  }
}

}  // namespace

domain::PromptLinks prompt_links(const json::object& request) {
  Chain chain;
  for (const char* first : {"tools", "system", "instructions"})
    if (const json::value* value = request.if_contains(first); value != nullptr) {
      chain.add(json::serialize(*value));
      chain.link();
    }
  for (const char* prompt : {"messages", "input", "prompt"}) {
    const json::value* value = request.if_contains(prompt);
    if (value == nullptr) continue;
    if (value->is_array()) add_messages(chain, value->get_array());
    if (value->is_string()) add_text(chain, value->get_string());
  }
  return chain.take();
}

}  // namespace glowplug::gateway
