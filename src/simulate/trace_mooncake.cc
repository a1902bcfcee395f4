// Mooncake's traces: an object of JSON in each line. The ids of prefix blocks are not looked at.
#include <cmath>
#include <utility>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "simulate/trace_rows.h"

namespace glowplug::simulate {
namespace {

namespace json = boost::json;

constexpr double kMillisecondsMax = 4e12;

class MooncakeRows final : public RowReader {
 public:
  MooncakeRows(LineReader lines, std::string first, const std::string& function)
      : lines_(std::move(lines)), line_(std::move(first)) {
    names_.number_of(function);
  }

  Result<std::optional<TraceRow>> next() override {
    if (!line_) {
      const auto read = lines_.next();
      if (!read) return read.error();
      if (!*read) return std::optional<TraceRow>{};
      line_ = std::string(**read);
      if (line_->find_first_not_of(" \t") == std::string::npos) {
        line_.reset();
        return next();
      }
    }
    return parse(*std::exchange(line_, std::nullopt));
  }
  const std::vector<std::string>& functions() const override { return names_.names(); }
  Error fault(const std::string& what, const std::string& field) const override {
    return lines_.fault(what, field);
  }

 private:
  Result<std::optional<TraceRow>> parse(const std::string& text) const {
    boost::system::error_code code;
    const json::value value = json::parse(text, code);
    if (code || !value.is_object())
      return lines_.fault(code ? fmt::format("this is no JSON: {}", code.message())
                               : "each line must be an object");
    const json::object& object = value.get_object();
    const Result<double> at = number(object, "timestamp", kMillisecondsMax);
    if (!at) return at.error();
    const Result<double> prompt = number(object, "input_length", kTokensMax);
    if (!prompt) return prompt.error();
    const Result<double> output = number(object, "output_length", kTokensMax);
    if (!output) return output.error();
    return std::optional(
        TraceRow{.request = {.at = Duration(static_cast<std::int64_t>(std::llround(*at * 1e6))),
                             .prompt_tokens = static_cast<int>(*prompt),
                             .output_tokens = static_cast<int>(*output)},
                 .line = lines_.line()});
  }

  Result<double> number(const json::object& object, std::string_view field, double most) const {
    const json::value* found = object.if_contains(field);
    if (found == nullptr)
      return lines_.fault(fmt::format("`{}` is missing", field), std::string(field));
    if (!found->is_number())
      return lines_.fault(fmt::format("`{}` must be a number", field), std::string(field));
    const double value = found->to_number<double>();
    if (!(value >= 0 && value <= most))
      return lines_.fault(fmt::format("`{}` must lie between 0 and {}, not {}", field, most, value),
                          std::string(field));
    return value;
  }

  LineReader lines_;
  std::optional<std::string> line_;  // read already
  NameTable names_;
};

}  // namespace

Rows mooncake_rows(LineReader lines, std::string first, const TraceOptions& options) {
  return std::unique_ptr<RowReader>(
      std::make_unique<MooncakeRows>(std::move(lines), std::move(first), options.function));
}

}  // namespace glowplug::simulate
