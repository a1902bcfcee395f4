#include "gateway/prompt_links.h"

#include <random>
#include <string_view>

#include "base/fnv.h"

namespace glowplug::gateway {
namespace {

namespace json = boost::json;

constexpr std::size_t kTextBlock = 1024;
constexpr std::size_t kBytesMax = 128 * 1024;  // of a request: what follows is not looked at

std::uint64_t hash_key() {
  static const std::uint64_t key = [] {
    std::random_device random;
    return std::uint64_t{random()} << 32 | random();
  }();
  return key;
}

class Chain final {
 public:
  // False, and it is no link, where the text goes beyond kBytesMax.
  bool add(std::string_view text) {
    if (is_full() || bytes_ + text.size() > kBytesMax) return false;
    mix(text);
    link();
    return true;
  }
  bool add(const json::value& value) {
    char buffer[4096];
    json::serializer writer;
    writer.reset(&value);
    while (!writer.done()) {
      const auto text = writer.read(buffer);
      if (is_full() || bytes_ + text.size() > kBytesMax) return false;
      mix({text.data(), text.size()});
    }
    link();
    return true;
  }
  domain::PromptLinks take() { return std::move(links_); }

 private:
  void mix(std::string_view text) {
    Fnv hash(hash_);
    hash.add(text);
    hash_ = hash.value() ^ (hash.value() >> 29);
    bytes_ += text.size();
  }
  void link() { links_.push_back({hash_, bytes_}); }
  bool is_full() const { return links_.size() == domain::kPromptLinksMax; }

  std::uint64_t hash_ = Fnv::kBasis ^ hash_key();
  std::uint64_t bytes_ = 0;
  domain::PromptLinks links_;
};

void add_messages(Chain& chain, const json::array& messages) {
  for (const json::value& message : messages)
    if (!chain.add(message)) return;
}

// Whole blocks alone: the last part of a text that goes on is another one's beginning.
void add_text(Chain& chain, std::string_view text) {
  for (; text.size() >= kTextBlock; text.remove_prefix(kTextBlock))
    if (!chain.add(text.substr(0, kTextBlock))) return;
}

}  // namespace

domain::PromptLinks prompt_links(const json::object& request) {
  Chain chain;
  for (const char* first : {"tools", "system", "instructions"})
    if (const json::value* value = request.if_contains(first))
      if (!chain.add(*value)) return {};
  for (const char* prompt : {"messages", "input", "prompt"}) {
    const json::value* value = request.if_contains(prompt);
    if (value == nullptr) continue;
    if (value->is_array()) add_messages(chain, value->get_array());
    if (value->is_string()) add_text(chain, value->get_string());
  }
  return chain.take();
}

}  // namespace glowplug::gateway
