#include "control/log_archive.h"

#include <algorithm>
#include <array>
#include <charconv>

#include <fmt/format.h>

#include "base/fnv.h"
#include "control/log_fields.h"

namespace glowplug::control {
namespace {

// The length of a character of UTF-8 that begins here; 0 = it is none.
std::size_t character_at(std::string_view text) {
  const auto byte = [&text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  const std::size_t length = first < 0x80   ? 1
                             : first < 0xC2 ? 0
                             : first < 0xE0 ? 2
                             : first < 0xF0 ? 3
                             : first < 0xF5 ? 4
                                            : 0;
  if (length == 0 || length > text.size()) return 0;
  for (std::size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xC0) != 0x80) return 0;
  if ((first == 0xE0 && byte(1) < 0xA0) || (first == 0xED && byte(1) > 0x9F) ||
      (first == 0xF0 && byte(1) < 0x90) || (first == 0xF4 && byte(1) > 0x8F))
    return 0;
  return length;
}

}  // namespace

// --- writing ---

// What is no character of UTF-8 becomes a question mark: JSON holds nothing else.
void LogWriter::string(std::string_view text) {
  text_ += '"';
  while (!text.empty()) {
    const std::size_t length = character_at(text);
    const char c = text.front();
    if (length == 0) {
      text_ += '?';
    } else if (c == '"' || c == '\\') {
      text_ += '\\';
      text_ += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      fmt::format_to(std::back_inserter(text_), "\\u{:04x}", static_cast<unsigned>(c));
    } else {
      text_ += text.substr(0, length);
    }
    text.remove_prefix(std::max<std::size_t>(1, length));
  }
  text_ += '"';
}

void LogWriter::fraction(double value) {
  std::array<char, 32> digits{};
  text_ += '"';
  text_.append(digits.data(),
               std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr);
  text_ += '"';
}

std::uint64_t LogWriter::stand_in(std::uint64_t hash) {
  return tables_.hidden.try_emplace(hash, tables_.hidden.size() + 1).first->second;
}

// "#7......": as long as the text, or longer where the number is.
std::string LogWriter::hidden(const std::string& text) {
  if (text.empty() || secrets_ == Secrets::AsTheyAre) return text;
  std::string stands = fmt::format("#{}", stand_in(fnv(text)));
  stands.resize(std::max(stands.size(), text.size()), '.');
  return stands;
}

void LogWriter::hide(std::string_view name, std::string& text) {
  std::string stands = hidden(text);
  (*this)(name, stands);
}

void LogWriter::hide(std::string_view name, std::vector<std::string>& texts) {
  std::vector<std::string> stand;
  for (const std::string& text : texts) stand.push_back(hidden(text));
  (*this)(name, stand);
}

// As a list of names and what stands for their values.
void LogWriter::hide(std::string_view name, std::map<std::string, std::string>& texts) {
  std::vector<std::string> stand;
  for (const auto& [key, value] : texts) {
    stand.push_back(key);
    stand.push_back(hidden(value));
  }
  (*this)(name, stand);
}

// A signed URL carries its key behind the question mark.
void LogWriter::hide_query(std::string_view name, std::string& url) {
  const std::size_t query = std::min(url.size(), url.find('?'));
  std::string shown = url.substr(0, query) + hidden(url.substr(query));
  (*this)(name, shown);
}

template <typename Value>
int LogWriter::number_of(const Value& value, std::string_view kind,
                         std::map<std::string, int>& numbers) {
  LogWriter whole(tables_, secrets_);
  whole.object(value);
  std::string text = whole.take();
  const auto known = numbers.find(text);
  if (known != numbers.end()) return known->second;
  const int number = static_cast<int>(numbers.size()) + 1;
  definitions_ += fmt::format("{{\"{}\":{},\"number\":{}}}\n", kind, text, number);
  numbers.emplace(std::move(text), number);
  return number;
}

void LogWriter::write(const domain::Manifest& manifest) {
  number(number_of(manifest, "manifest", tables_.manifest_numbers));
}
void LogWriter::write(const domain::ModelFacts& facts) {
  number(number_of(facts, "facts", tables_.facts_numbers));
}

// {"count":300,"number":7}: the number stands for them, and is the first of those that are read.
void LogWriter::write(const domain::SharedTokens& tokens) {
  if (tokens == nullptr || tokens->empty()) return raw("null");
  std::uint64_t number = static_cast<std::uint32_t>(tokens->front());
  if (secrets_ == Secrets::Hidden) {
    Fnv hash;
    for (const std::int32_t token : *tokens) hash.step(static_cast<std::uint32_t>(token));
    number = stand_in(hash.value());
  }
  raw(fmt::format("{{\"count\":{},\"number\":{}}}", tokens->size(), number));
}

// --- reading ---

const boost::json::value* LogReader::member(const boost::json::value& of, std::string_view name) {
  return of.is_object() ? of.get_object().if_contains(name) : nullptr;
}

void LogReader::fail(std::string_view what) {
  if (fault_.empty()) fault_ = fmt::format("`{}` {}", name_, what);
}

std::int64_t LogReader::integer(const boost::json::value& from) {
  if (from.is_int64()) return from.get_int64();
  fail("must be a whole number");
  return 0;
}

std::uint64_t LogReader::whole(const boost::json::value& from) {
  if (from.is_uint64()) return from.get_uint64();
  const std::int64_t read = integer(from);
  if (read < 0) fail("must not be negative");
  return static_cast<std::uint64_t>(std::max<std::int64_t>(0, read));
}

double LogReader::fraction(const boost::json::value& from) {
  double read = 0;
  if (from.is_string()) {
    const std::string_view text(from.get_string());
    if (std::from_chars(text.data(), text.data() + text.size(), read).ptr ==
        text.data() + text.size())
      return read;
  }
  fail("must be a number in quotes");
  return 0;
}

void LogReader::read(const boost::json::value& from, domain::Manifest& manifest) {
  const std::int64_t number = integer(from);
  if (number < 1 || static_cast<std::size_t>(number) > tables_.manifests.size())
    return fail("names a manifest that no line before says");
  manifest = tables_.manifests[static_cast<std::size_t>(number) - 1];
}

void LogReader::read(const boost::json::value& from, domain::ModelFacts& facts) {
  const std::int64_t number = integer(from);
  if (number < 1 || static_cast<std::size_t>(number) > tables_.facts.size())
    return fail("names model facts that no line before says");
  facts = tables_.facts[static_cast<std::size_t>(number) - 1];
}

void LogReader::read(const boost::json::value& from, domain::SharedTokens& tokens) {
  const boost::json::value* count = member(from, "count");
  const boost::json::value* number = member(from, "number");
  if (count == nullptr || number == nullptr) return fail("must have count and number");
  const std::uint64_t size = whole(*count);
  if (size < 1 || size > static_cast<std::uint64_t>(domain::kContextMax))
    return fail("has no such count of tokens");
  std::vector<std::int32_t> stand(size);
  stand.front() = static_cast<std::int32_t>(whole(*number));
  tokens = std::make_shared<const std::vector<std::int32_t>>(std::move(stand));
}

void LogReader::read(const boost::json::value& from, std::map<std::string, std::string>& texts) {
  std::vector<std::string> list;
  read(from, list);
  if (list.size() % 2 != 0) return fail("must be names and values");
  texts.clear();
  for (std::size_t i = 0; i + 1 < list.size(); i += 2) texts[list[i]] = list[i + 1];
}

bool LogReader::take_definition(const boost::json::value& line) {
  const boost::json::value* manifest = member(line, "manifest");
  const boost::json::value* facts = member(line, "facts");
  if ((manifest == nullptr && facts == nullptr) || member(line, "event") != nullptr) return false;
  name_ = manifest != nullptr ? "manifest" : "facts";
  const boost::json::value* number = member(line, "number");
  const std::size_t next =
      1 + (manifest != nullptr ? tables_.manifests.size() : tables_.facts.size());
  if (number == nullptr || static_cast<std::size_t>(integer(*number)) != next)
    fail("has not the next number");
  else if (manifest != nullptr)
    object(*manifest, tables_.manifests.emplace_back());
  else
    object(*facts, tables_.facts.emplace_back());
  return true;
}

}  // namespace glowplug::control
