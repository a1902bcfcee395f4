// The parsed header of a GGUF file: metadata and tensor list, structurally sound, not yet
// understood.
//
// parse_gguf_header checks the container (lengths, types, alignment, tensor placement);
// gguf_reader.cc checks the meaning. Long arrays keep their element count only, apart from
// whole-number arrays, which hold per-layer values.
//
// Thread: a value; parsing is a pure function of the file.
#pragma once

#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

namespace glowplug::models {

// Why a file is refused; thrown inside the parser only and turned into an Error by read_gguf.
struct GgufFault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct GgufArray {
  std::uint32_t type = 0;
  std::uint64_t count = 0;
  std::vector<std::int64_t>
      integers;  // filled for whole-number arrays of at most kGgufListedMax elements
};

inline constexpr std::uint64_t kGgufListedMax = 4096;

using GgufValue = std::variant<std::int64_t, std::uint64_t, double, bool, std::string, GgufArray>;

struct GgufTensor {
  std::string name;
  std::vector<std::uint64_t> dimensions;
  std::uint64_t bytes = 0;
};

struct GgufHeader {
  std::map<std::string, GgufValue> values;
  std::map<std::string, GgufTensor> tensors;
  std::uint64_t file_bytes = 0;
  std::uint64_t weight_bytes = 0;
};

GgufHeader parse_gguf_header(const std::string& path);  // throws GgufFault

}  // namespace glowplug::models
