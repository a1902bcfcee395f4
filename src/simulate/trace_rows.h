// Rows of a trace as its reader finds them, before they are put in order. Thread: one owner.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "simulate/table_reader.h"
#include "simulate/trace.h"

namespace glowplug::simulate {

struct TraceRow {
  Request request;  // `at` from a beginning of the trace's own
  std::uint64_t line = 0;
};

class RowReader {
 public:
  virtual ~RowReader() = default;
  virtual Result<std::optional<TraceRow>> next() = 0;
  virtual const std::vector<std::string>& functions() const = 0;
  virtual Error fault(const std::string& what, const std::string& field) const = 0;
  virtual Duration disorder() const { return Duration(0); }  // that its kind brings with it
};

// Names by number, in the order in which they were seen.
class NameTable final {
 public:
  // Nothing when there are domain::kFunctionsMax already.
  std::optional<std::uint32_t> number_of(std::string_view name);
  const std::vector<std::string>& names() const { return names_; }

 private:
  std::map<std::string, std::uint32_t, std::less<>> numbers_;
  std::vector<std::string> names_;
};

// The name's number, or a fault of this line.
Result<std::uint32_t> function_number(NameTable& names, std::string_view name,
                                      const TableReader& table, std::string_view field);

using Rows = Result<std::unique_ptr<RowReader>>;
Rows own_rows(TableReader table);
Rows azure_llm_rows(TableReader table, const TraceOptions& options);
Rows azure_functions_2021_rows(TableReader table, const TraceOptions& options);
Rows azure_functions_2019_rows(TableReader table, const TraceOptions& options);
Rows servegen_rows(TableReader table, const TraceOptions& options);
Rows mooncake_rows(LineReader lines, std::string first, const TraceOptions& options);

}  // namespace glowplug::simulate
