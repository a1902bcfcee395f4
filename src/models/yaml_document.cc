#include "models/yaml_document.h"

#include <charconv>
#include <istream>
#include <set>
#include <sstream>
#include <stdexcept>
#include <vector>

#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/parse.hpp>
#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include "domain/errors.h"

namespace glowplug::models {
namespace {

namespace json = boost::json;

Error invalid(std::string message) {
  return {std::string(domain::error::kManifestInvalid), std::move(message), {}};
}

struct Refused : std::runtime_error {
  Refused(const YAML::Mark& mark, const std::string& why)
      : std::runtime_error(
            fmt::format("line {}, column {}: {}", mark.line + 1, mark.column + 1, why)) {}
};

// YAML 1.2 core schema: what a plain (unquoted) scalar means.
json::value plain_value(const std::string& text) {
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL")
    return nullptr;
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  const bool numeric =
      text.size() <= 32 && text.find_first_not_of("+-.0123456789eE") == std::string::npos;
  if (!numeric) return json::string(text);
  const char* const begin = text.data() + (text.front() == '+' ? 1 : 0);
  const char* const end = text.data() + text.size();
  std::int64_t integer = 0;
  if (const auto [at, error] = std::from_chars(begin, end, integer);
      error == std::errc() && at == end)
    return integer;
  double number = 0;
  if (const auto [at, error] = std::from_chars(begin, end, number);
      error == std::errc() && at == end)
    return number;
  return json::string(text);
}

class Builder final : public YAML::EventHandler {
 public:
  bool has_root() const { return has_root_; }
  json::value take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    check(mark, "?", anchor);
    add(mark, nullptr, {});
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    throw Refused(mark, "aliases (*name) are not accepted; write the value out");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    check(mark, tag, anchor);
    add(mark, tag == "!" ? json::value(json::string(value)) : plain_value(value), value);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, json::array());
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, json::object());
  }
  void OnMapEnd() override { close(); }

 private:
  struct Level {
    json::value value;
    YAML::Mark mark;
    std::string key;
    bool key_read = false;
  };

  static void check(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    if (anchor != 0) throw Refused(mark, "anchors (&name) are not accepted; write the value out");
    if (!tag.empty() && tag != "?" && tag != "!")
      throw Refused(mark, "tags (!type) are not accepted");
  }

  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
            json::value empty) {
    check(mark, tag, anchor);
    if (levels_.size() >= kDocumentDepthMax)
      throw Refused(mark, fmt::format("nested deeper than {} levels", kDocumentDepthMax));
    levels_.push_back({std::move(empty), mark, {}, false});
  }

  void close() {
    Level done = std::move(levels_.back());
    levels_.pop_back();
    add(done.mark, std::move(done.value), {});
  }

  void add(const YAML::Mark& mark, json::value value, const std::string& text) {
    if (levels_.empty()) {
      root_ = std::move(value);
      has_root_ = true;
      return;
    }
    Level& level = levels_.back();
    if (level.value.is_array()) {
      level.value.get_array().push_back(std::move(value));
    } else if (!level.key_read) {
      if (value.is_structured() || text.empty()) throw Refused(mark, "a key must be a plain word");
      if (level.value.get_object().contains(text))
        throw Refused(mark, fmt::format("the key \"{}\" appears twice", text));
      level.key = text;
      level.key_read = true;
    } else {
      level.value.get_object().emplace(level.key, std::move(value));
      level.key_read = false;
    }
  }

  std::vector<Level> levels_;
  json::value root_;
  bool has_root_ = false;
};

Result<json::value> parse_yaml(std::string_view text) {
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    Builder builder;
    parser.HandleNextDocument(builder);
    if (!builder.has_root()) {
      const bool blank = text.find_first_not_of(" \t\r\n") == std::string_view::npos;
      return invalid(blank ? "the text is empty"
                           : "the text holds no value: it is all comment, or not UTF-8");
    }
    Builder second;
    if (parser.HandleNextDocument(second))
      return invalid("there is more than one document; send one at a time");
    return builder.take();
  } catch (const Refused& refused) {
    return invalid(refused.what());
  } catch (const YAML::Exception& fault) {
    return invalid(fmt::format("line {}, column {}: {}", fault.mark.line + 1, fault.mark.column + 1,
                               fault.msg));
  } catch (const std::exception& fault) {
    return invalid(fmt::format("not readable as YAML: {}", fault.what()));
  }
}

// Sees the events of a JSON text that is already known to be well-formed and remembers a repeated
// key.
struct DuplicateKeys {
  static constexpr std::size_t max_object_size = std::size_t(-1);
  static constexpr std::size_t max_array_size = std::size_t(-1);
  static constexpr std::size_t max_key_size = std::size_t(-1);
  static constexpr std::size_t max_string_size = std::size_t(-1);
  using error = boost::system::error_code;

  std::vector<std::set<std::string>> open;
  std::string partial;
  std::string repeated;

  bool on_document_begin(error&) { return true; }
  bool on_document_end(error&) { return true; }
  bool on_object_begin(error&) {
    open.emplace_back();
    return true;
  }
  bool on_object_end(std::size_t, error&) {
    open.pop_back();
    return true;
  }
  bool on_array_begin(error&) { return true; }
  bool on_array_end(std::size_t, error&) { return true; }
  bool on_key_part(json::string_view part, std::size_t, error&) {
    partial.append(part.data(), part.size());
    return true;
  }
  bool on_key(json::string_view part, std::size_t, error&) {
    partial.append(part.data(), part.size());
    if (!open.back().insert(partial).second) repeated = partial;
    partial.clear();
    return true;
  }
  bool on_string_part(json::string_view, std::size_t, error&) { return true; }
  bool on_string(json::string_view, std::size_t, error&) { return true; }
  bool on_number_part(json::string_view, error&) { return true; }
  bool on_int64(std::int64_t, json::string_view, error&) { return true; }
  bool on_uint64(std::uint64_t, json::string_view, error&) { return true; }
  bool on_double(double, json::string_view, error&) { return true; }
  bool on_bool(bool, error&) { return true; }
  bool on_null(error&) { return true; }
  bool on_comment_part(json::string_view, error&) { return true; }
  bool on_comment(json::string_view, error&) { return true; }
};

std::string repeated_key(std::string_view text) {
  json::parse_options options;
  options.max_depth = kDocumentDepthMax;
  json::basic_parser<DuplicateKeys> parser(options);
  boost::system::error_code error;
  parser.write_some(false, text.data(), text.size(), error);
  return parser.handler().repeated;
}

}  // namespace

Result<json::value> parse_document(std::string_view text) {
  if (text.size() > kDocumentBytesMax)
    return invalid(fmt::format("the text has {} bytes; at most {} are accepted", text.size(),
                               kDocumentBytesMax));
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first != std::string_view::npos && text[first] == '{') {
    boost::system::error_code error;
    json::parse_options options;
    options.max_depth = kDocumentDepthMax;
    json::value value = json::parse(text, error, {}, options);
    if (!error) {
      const std::string repeated = repeated_key(text);
      if (!repeated.empty()) return invalid(fmt::format("the key \"{}\" appears twice", repeated));
      return value;
    }
    if (error == json::error::too_deep)
      return invalid(fmt::format("nested deeper than {} levels", kDocumentDepthMax));
  }
  return parse_yaml(text);  // JSON that is not quite JSON gets YAML's message, with line and column
}

}  // namespace glowplug::models
